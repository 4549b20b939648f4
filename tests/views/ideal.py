"""Ideal sharings of point functions and of comparisons, in place of the AES-based keys.

The real keys hide the point and its value computationally only, so no enumeration can show it. With
these in their place, everything else about a look-up or a comparison is exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from veilform.correlation import specs
from veilform.correlation.deal import Dealing
from veilform.correlation.specs import Field, Source, Spec
from veilform.drive.trace import ShapeParty
from veilform.masks import MaskRef
from veilform.protocol.party import Party
from veilform.roles import CLIENT, Role
from veilform.shapes import Abstract

RING = 3
"""Bits of the sharing of the point function: enough for what the tests look up."""


class IdealLookup(Spec, frozen=True, tag="ideal"):
    """The point function's values, shared: 1 at the index's mask, the payload's mask beside it."""

    count: int
    bits: int
    index: MaskRef
    payload: MaskRef | None = None
    levels: int = 1

    def fields(self, role: Role) -> tuple[Field, ...]:
        width = 1 if self.payload is None else 2
        source = Source.SEED if role is CLIENT else Source.DEALT
        return (Field("points", (self.count, 1 << self.bits, width), RING, source),)


class IdealCurve(Spec, frozen=True, tag="ideal-curve"):
    """The point function's values at the upper bits of an opened value's mask: 1, and that mask."""

    count: int
    width: int
    low: int
    bits: int
    opened: MaskRef

    def fields(self, role: Role) -> tuple[Field, ...]:
        source = Source.SEED if role is CLIENT else Source.DEALT
        shape = (self.count, 1 << self.width - self.low, 2)
        return (Field("points", shape, self.bits, source),)


class IdealCompare(Spec, frozen=True, tag="ideal-compare"):
    """For each point t, [t < the mask's low bits], shared by exclusive or."""

    count: int
    bits: int
    index: MaskRef

    def fields(self, role: Role) -> tuple[Field, ...]:
        source = Source.SEED if role is CLIENT else Source.DEALT
        return (Field("below", (self.count, 1 << self.bits), 1, source),)


@Dealing._values.register(IdealCurve)
def _deal_curve(self: Dealing, spec: IdealCurve) -> dict[str, np.ndarray]:
    rho = self._masks.get(spec.opened).reshape(-1)
    points = np.zeros(spec.fields(CLIENT)[0].shape, np.uint64)
    at = (np.arange(spec.count), (rho >> np.uint64(spec.low)).astype(np.int64))
    points[(*at, 0)], points[(*at, 1)] = 1, rho
    return {"points": points}


@Dealing._values.register(IdealCompare)
def _deal_compare(self: Dealing, spec: IdealCompare) -> dict[str, np.ndarray]:
    alpha = self._masks.get(spec.index).reshape(-1, 1) & np.uint64((1 << spec.bits) - 1)
    return {"below": (np.arange(1 << spec.bits, dtype=np.uint64) < alpha).astype(np.uint64)}


def _curve(self: Party, taken: Any, bits: int, index: np.ndarray, table: Any) -> Any:
    """Intercept, slope, slope times mask; ``table.columns`` has the lines of each cell."""
    size = 1 << bits
    cells = (index[:, None] - np.arange(size, dtype=np.uint64)) & np.uint64(size - 1)
    lines = table.columns[cells.astype(np.int64)]
    round_the_ring = (cells > index[:, None]).astype(np.uint64) << np.uint64(table.width)
    intercept = lines[..., 0] + lines[..., 1] * round_the_ring
    one, rho = taken["points"][..., 0], taken["points"][..., 1]
    parts = (intercept * one, lines[..., 1] * one, lines[..., 1] * rho)
    return np.stack([part.sum(1) for part in parts], axis=1)


def _below(self: Party, taken: Any, bits: int, points: Any) -> list[np.ndarray]:
    rows = np.arange(taken["below"].shape[0])
    return [taken["below"][rows, at.reshape(-1).astype(np.int64)].reshape(at.shape)
            for at in points]  # fmt: skip


@Dealing._values.register(IdealLookup)
def _deal(self: Dealing, spec: IdealLookup) -> dict[str, np.ndarray]:
    alpha = self._masks.get(spec.index).reshape(-1).astype(np.int64)
    points = np.zeros(spec.fields(CLIENT)[0].shape, np.uint64)
    lanes = np.arange(spec.count)
    points[lanes, alpha, 0] = 1
    if spec.payload is not None:
        points[lanes, alpha, 1] = self._masks.get(spec.payload).reshape(-1)
    return {"points": points}


def _look_up(self: Party, taken: Any, bits: int, index: np.ndarray, table: np.ndarray) -> Any:
    points = taken["points"]
    size = 1 << bits
    rows = (index[:, None] - np.arange(size, dtype=np.uint64)) & np.uint64(size - 1)
    out = np.einsum("kic,kiw->kcw", table[rows.astype(np.int64)], points)
    return np.concatenate([out, np.zeros_like(out)], axis=2)[:, :, :2]


def _line(self: Party, taken: Any, bits: int, index: np.ndarray, table: Any) -> Any:
    """Intercept, slope, slope times payload, outside; ``table.columns`` has them for each index."""
    out = _look_up(self, taken, bits, index, table.columns)
    return np.stack([out[:, 0, 0], out[:, 1, 0], out[:, 1, 1], out[:, 2, 0]], axis=1)


def _shape(self: Party, taken: Any, bits: int, index: Abstract, table: np.ndarray) -> Abstract:
    return Abstract((index.size, table.shape[1], 2))


def _line_shape(self: Party, taken: Any, bits: int, index: Abstract, table: Any) -> Abstract:
    return Abstract((index.size, 4))


@pytest.fixture
def ideal_lookups() -> Iterator[None]:
    """Look-ups read an ideal sharing while the test runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(specs, "Lookup", IdealLookup)
        patch.setattr(specs, "Curve", IdealCurve)
        patch.setattr(specs, "Compare", IdealCompare)
        patch.setattr(Party, "curve", _curve)
        patch.setattr(Party, "below", _below)
        patch.setattr(Party, "lookup", _look_up)
        patch.setattr(ShapeParty, "lookup", _shape)
        patch.setattr(Party, "line", _line)
        patch.setattr(ShapeParty, "line", _line_shape)
        yield
