"""All of a protocol's randomness, run through at once.

For values of a few bits, every value of every seed-expanded field is enumerated along the first
axis of the arrays: one lane is one choice of all the dealer's and the parties' randomness. A
party's view is all that it expands, is dealt, gets as correction, and receives. As lanes are
equally likely, two views have the same distribution exactly if their lanes, sorted, are the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from veilform import prg
from veilform.correlation.manifest import Manifest
from veilform.correlation.specs import AnySpec, Source
from veilform.correlation.weights import packed, packed_one
from veilform.drive.alternate import alternate
from veilform.drive.lockstep import deal_stocks
from veilform.drive.trace import ShapeParty, Sizes
from veilform.protocol.effects import Gather, Protocol, Take, transfers_of
from veilform.protocol.party import Party
from veilform.ring import signed
from veilform.roles import CLIENT, SERVER, Role
from veilform.shapes import Abstract
from veilform.values import Additive, Weight

SEEDS = {CLIENT: b"client's seed 16", SERVER: b"server's seed 16"}
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Seen:
    """One party's view: for each lane, everything in one number of ``bits`` bits."""

    lanes: np.ndarray
    bits: int

    def distribution(self) -> bytes:
        """Equal for equal distributions."""
        return np.sort(self.lanes).tobytes()


@dataclass(frozen=True)
class Run:
    """Both views, what each party's program returned, and what each received as messages."""

    views: dict[Role, Seen]
    results: dict[Role, Any]
    received: dict[Role, list[np.ndarray]]


class Enumeration:
    """One protocol on values of small rings.

    Args:
        program: takes the party, the additive inputs, the weights.
        bits: of the inputs' ring; or of each input's, in order.
        inputs: shape of each input in one lane.
        weights: shape of each weight, not a part of the lanes.
        sampled: a party whose own randomness is drawn ``samples`` times, not enumerated. The result
            is exact for each of those draws: for the view of that party.
    """

    def __init__(
        self,
        program: Callable[..., Protocol[Any]],
        bits: int | Sequence[int],
        inputs: Sequence[Shape] = ((),),
        *,
        weights: Mapping[str, Shape] | None = None,
        sampled: Role | None = None,
        samples: int = 1,
    ) -> None:
        self.rings = [bits] * len(inputs) if isinstance(bits, int) else list(bits)
        self._program = program
        self._inputs = inputs
        self._weights = weights or {}
        one = self._trace(1)
        rng = np.random.default_rng(7)
        self._samples = samples if sampled else 1
        self._drawn: dict[tuple[bytes, str], np.ndarray] = {}
        self._placed: dict[tuple[bytes, str], tuple[int, int, int]] = {}
        self.free_bits = 0
        for spec in one:
            for role in (CLIENT, SERVER):
                for field in spec.fields(role):
                    if field.source is not Source.SEED:
                        continue
                    label, count = (
                        (SEEDS[role], f"{spec.name}/{field.name}"),
                        math.prod(field.shape),
                    )
                    assert label not in self._placed, f"{label} is expanded for two fields"
                    assert label not in self._drawn, f"{label} is expanded for two fields"
                    if role is sampled:
                        self._drawn[label] = rng.integers(
                            0, 1 << field.bits, (samples, count), np.uint64
                        )
                    else:
                        self._placed[label] = (self.free_bits, field.bits, count)
                        self.free_bits += field.bits * count
        assert self.free_bits <= 21, f"{self.free_bits} bits are too many to enumerate"
        self.lanes = self._samples << self.free_bits
        self._specs = self._trace(self.lanes)

    def _expand(self, seed: bytes, label: str, count: int, bits: int) -> np.ndarray:
        """Stands in for ``prg.expand``: the field's value in every lane."""
        lane = np.arange(self.lanes, dtype=np.uint64)
        if (seed, label) in self._drawn:
            drawn = self._drawn[seed, label]
            out = drawn[(lane >> np.uint64(self.free_bits)).astype(np.int64)]
        else:
            start, placed, each = self._placed[seed, label]
            assert bits == placed, f"{label} is expanded to another width than traced"
            shifts = np.arange(start, start + bits * each, bits, dtype=np.uint64)
            out = lane[:, None] >> shifts & np.uint64((1 << bits) - 1)
        assert out.size == count, f"{label} is expanded to another size than traced"
        return np.ascontiguousarray(out).reshape(-1)

    def _trace(self, lanes: int) -> tuple[AnySpec, ...]:
        specs: list[AnySpec] = []

        def take(spec: AnySpec) -> dict[str, Any]:
            specs.append(spec)
            return ShapeParty.material(spec, CLIENT)

        def server(spec: AnySpec) -> dict[str, Any]:
            return ShapeParty.material(spec, SERVER)

        held: list[Any] = [
            Additive(Abstract((lanes, *shape)), ring)
            for shape, ring in zip(self._inputs, self.rings, strict=True)
        ]
        held += [Weight(name, shape) for name, shape in self._weights.items()]
        programs = {role: self._program(ShapeParty(role), *held) for role in (CLIENT, SERVER)}
        alternate(programs, {CLIENT: take, SERVER: server}, {role: Sizes() for role in programs})
        return tuple(specs)

    def run(
        self,
        client: Sequence[Any],
        server: Sequence[Any],
        weights: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    ) -> Run:
        """Runs every lane.

        Args:
            client, server: each input's share.
            weights: each weight, and its part P that the parties have in common.
        """
        weights = weights or {}
        manifest = Manifest("views", "", 1, 1, self._specs, (), ())
        parties = {role: Party(role) for role in (CLIENT, SERVER)}
        views: dict[Role, list[tuple[np.ndarray, int]]] = {CLIENT: [], SERVER: []}
        received: dict[Role, list[np.ndarray]] = {CLIENT: [], SERVER: []}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(prg, "expand", self._expand)
            stocks = deal_stocks(
                manifest,
                common=packed({n: p for n, (_, p) in weights.items()}),
                masked=packed({n: p - w for n, (w, p) in weights.items()}),
                seeds=SEEDS,
            )
            programs = {}
            for role, shares in ((CLIENT, client), (SERVER, server)):
                held: list[Any] = [
                    Additive(
                        np.broadcast_to(np.asarray(s, np.uint64), (self.lanes, *shape)).copy(), ring
                    )
                    for s, shape, ring in zip(shares, self._inputs, self.rings, strict=True)
                ]
                held += [
                    Weight(n, shape, packed_one(weights[n][0]) if role is SERVER else None)
                    for n, shape in self._weights.items()
                ]
                run = self._program(parties[role], *held)
                programs[role] = self._watched(run, role, views[role], received[role])
            ran = alternate(programs, {role: stocks[role].take for role in stocks})
        seen = {role: self._numbered(parts) for role, parts in views.items()}
        return Run(seen, ran.results, received)

    def _watched(
        self,
        program: Protocol[Any],
        role: Role,
        view: list[tuple[np.ndarray, int]],
        received: list[np.ndarray],
    ) -> Protocol[Any]:
        """The program, with everything that comes in noted."""
        reply = None
        while True:
            try:
                effect = program.send(reply)
            except StopIteration as stop:
                return stop.value
            reply = yield effect
            if isinstance(effect, Take):
                fields = effect.spec.fields(role)
                view += [(reply[field.name], field.bits) for field in fields]
                continue
            replies = reply if isinstance(effect, Gather) else (reply,)
            for transfer, one in zip(transfers_of(effect), replies, strict=True):
                if one is not None:
                    view.append((one, transfer.bits))
                    received.append(one)

    def _numbered(self, parts: list[tuple[np.ndarray, int]]) -> Seen:
        number, total = np.zeros(self.lanes, np.uint64), 0
        for array, bits in parts:
            for column in array.reshape(self.lanes, -1).T:
                assert not (column >> np.uint64(bits)).any(), "a field or message is too wide"
                number = number << np.uint64(bits) | column
                total += bits
        assert total <= 64, f"a view of {total} bits does not fit a word"
        return Seen(number, total)

    def joined(self, run: Run, index: int | None = None) -> np.ndarray:
        """A shared result put together, signed."""
        ours, theirs = (
            r if index is None else r[index] for r in (run.results[CLIENT], run.results[SERVER])
        )
        return signed(ours.share + theirs.share, ours.bits)

    def signed(self, *shares: int, index: int = 0) -> int:
        """The value that shares of an input stand for."""
        ring = self.rings[index]
        return int(signed(np.array([sum(shares) % (1 << ring)], np.uint64), ring)[0])
