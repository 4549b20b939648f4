"""A party's own computing: its role and the kernels, with a count of multiply-adds."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from veilform import kernels
from veilform.correlation.weights import times
from veilform.masks import Tiled
from veilform.protocol.tables import Curve, Table
from veilform.ring import WORD, Words
from veilform.roles import SERVER, Role
from veilform.values import Array, Opened, Weight


class Party:
    """What a protocol computes with. One object serves one run.

    Attributes:
        role: client or server.
        lead: 1 at the server, 0 at the client: who adds a public constant to a sharing.
        multiply_adds: ring multiply-adds of matrix products so far.
        operation: what of the model the party is at.
    """

    def __init__(self, role: Role) -> None:
        self.role = role
        self.lead = role is SERVER
        self.multiply_adds = 0
        self.ledger: list[Any] | None = None
        self.operation = ""
        self._began: list[tuple[str, float]] = []
        self._names: dict[str, int] = {}

    def fresh(self, kind: str) -> str:
        """A name that no other correlation of this run has; equal at both parties."""
        number = self._names.get(kind, 0)
        self._names[kind] = number + 1
        return f"{kind}:{number}"

    def begin(self, operation: str) -> None:
        """What follows belongs to ``operation``: for costs and times by operation."""
        self.operation = operation
        self._began.append((operation, time.perf_counter()))

    def seconds(self) -> dict[str, float]:
        """How long each operation took until now, waiting for the other party included."""
        found: dict[str, float] = {}
        ends = [start for _, start in self._began[1:]] + [time.perf_counter()]
        for (operation, start), end in zip(self._began, ends, strict=True):
            found[operation] = found.get(operation, 0.0) + end - start
        return found

    def mix(self, a: Array, b: Array | None = None, **how: Any) -> Array:
        """Sums, reductions and shifts of words in one pass: see ``kernels.mix``."""
        return kernels.mix(a, b, **how)

    def matmul(self, a: Array, b: Any, bits: int, onto: Array | None = None) -> Array:
        """(..., m, k) by (..., k, n), or by a packed weight, mod 2^bits.

        Args:
            onto: an array that the product is added to, in place; then it is what is returned.
        """
        self.multiply_adds += math.prod(a.shape) * b.shape[-1]
        return self._matmul(a, b, bits, onto)

    def _matmul(self, a: Array, b: Any, bits: int, onto: Array | None) -> Array:
        return kernels.matmul(a, b, bits, onto, accumulate=onto is not None)

    def apply(
        self,
        x: Array,
        weight: Weight,
        bits: int,
        by: Tiled | None = None,
        onto: Array | None = None,
    ) -> Array:
        """X times a weight, as ``specs.Term`` tells it. With ``onto``, added to it in place."""
        if len(weight.shape) > 1:
            inner = by.inner(x.shape) if by else x.shape
            self.multiply_adds += math.prod(inner) * weight.shape[-1]
        return self._times(x, weight, bits, by, onto)

    def _times(
        self, x: Array, weight: Weight, bits: int, by: Tiled | None, onto: Array | None
    ) -> Array:
        return times(x, weight.value, bits, by, onto)

    def zeros(self, shape: tuple[int, ...]) -> Array:
        """An array of zeros."""
        return np.zeros(shape, np.uint64)

    def repeat(self, x: Array, shape: tuple[int, ...]) -> Array:
        """x repeated to a larger shape by NumPy's rules."""
        return np.broadcast_to(x, shape)

    def opened_share(self, x: Opened) -> Array:
        """This party's share of an opened value."""
        return kernels.opened_share(x.y, x.shift, WORD, self.lead, x.q, x.h)

    def opened_square(self, x: Opened, **shares: Any) -> Array:
        """This party's share of its square; ``shares``: qq, qh."""
        return kernels.opened_square(
            x.y, x.shift, WORD, self.lead, x.q, x.h, shares["qq"], shares.get("qh")
        )

    def opened_product(self, a: Opened, b: Opened, **shares: Any) -> Array:
        """This party's share of the product of two opened values; ``shares``: qq, qh, hq, hh."""
        return kernels.opened_product(
            a.y, a.shift, b.y, b.shift, WORD, self.lead, a.q, a.h, b.q, b.h,
            shares["qq"], shares.get("qh"), shares.get("hq"), shares.get("hh"),
        )  # fmt: skip

    def harmonic(self, onto: Array, x: Array, *how: Any) -> Array:
        """``onto`` plus one term of a Fourier series, in place: see ``kernels.harmonic``."""
        kernels.harmonic(onto, x, *how)
        return onto

    def lookup(self, keys: dict[str, Words], bits: int, index: Array, table: Words) -> Array:
        """This party's shares (count, columns, 2) of table entries times (1, payload)."""
        return kernels.dpf_lookup(int(self.lead), *_key(keys, bits), bits, index, table)

    def line(self, keys: dict[str, Words], bits: int, index: Array, table: Table) -> Array:
        """This party's shares (count, 4): intercept, slope, slope times payload, outside."""
        return kernels.dpf_segments(int(self.lead), *_key(keys, bits), bits, index, table.segments)

    def curve(self, keys: dict[str, Words], bits: int, index: Array, table: Curve) -> Array:
        """This party's shares (count, 3): intercept, slope, slope times the mask."""
        return kernels.dpf_curve(int(self.lead), *_key(keys, bits), bits, index, table.segments)

    def below(self, keys: Mapping[str, Words], bits: int, points: Sequence[Array]) -> list[Array]:
        """For each array of points, this party's shares by exclusive or of [point < mask]."""
        seeds, blocks = (keys[name].view(np.uint8) for name in ("key", "blocks"))
        count = keys["key"].shape[0]
        turns = keys["right_bits"] if "right_bits" in keys else np.zeros(count, np.uint64)
        at = np.stack([each.reshape(-1) for each in points])
        found = kernels.compare_evaluate(
            int(self.lead), seeds, blocks.reshape(count, -1, 16), turns, bits, at
        )
        return [row.reshape(each.shape) for row, each in zip(found, points, strict=True)]

    def less(self, a: Array, b: Array) -> Array:
        """[a < b] of public words."""
        return (a < b).astype(np.uint64)


def _key(keys: dict[str, Words], bits: int) -> tuple[Any, Any, Any, Words]:
    """A look-up's material as the kernels take it."""
    return (
        keys["key"].view(np.uint8).reshape(-1, 16),
        keys["seed_words"].view(np.uint8).reshape(-1, bits, 16),
        keys["bit_words"].astype(np.uint8),
        keys["value_words"],
    )
