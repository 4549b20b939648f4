"""Both parties' steps of a run, in order, with how much each computes or moves.

A rehearsal is a run on shapes: nothing is computed. Its steps are what a machine's rates turn into
seconds (``machine``), and what two clocks and a link turn into a time (``clocks``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from veilform.correlation.specs import AnySpec
from veilform.drive.alternate import alternate
from veilform.drive.trace import ShapeParty, Sizes
from veilform.masks import Tiled
from veilform.protocol.effects import Protocol, Transfer
from veilform.protocol.party import Party
from veilform.protocol.tables import Curve, Table
from veilform.ring import Words
from veilform.roles import CLIENT, SERVER, Role
from veilform.values import Array, Opened, Weight

SEND, RECEIVE, MESSAGE, SMALL = "send", "receive", "message", "small"
KINDS = (
    "mix", "matmul", SMALL, "opened", "harmonic", "look-up", "walk", "compare", "stock", SEND,
    RECEIVE, MESSAGE,
)  # fmt: skip


class Step(NamedTuple):
    """One thing that a party does.

    Attributes:
        operation: of the model.
        kind: one of ``KINDS``.
        units: words of ``mix``, ``opened`` and ``harmonic``; multiply-adds of ``matmul``; products
            of bytes of ``small``, ceil(bits / 8) for each multiply-add by small weights; leaves of
            a ``look-up``; levels of ``walk`` and ``compare``; bytes of ``stock``, ``send`` and
            ``receive``; 1 of a ``message`` that is waited for.
    """

    operation: str
    kind: str
    units: int


class _Rehearsing(ShapeParty):
    """A party that writes down what it would compute."""

    def __init__(self, role: Role) -> None:
        super().__init__(role)
        self.steps: list[Step] = []

    def note(self, kind: str, units: int) -> None:
        self.steps.append(Step(self.operation, kind, units))

    def mix(self, a: Array, b: Array | None = None, **how: Any) -> Array:
        self.note("mix", a.size)
        return super().mix(a, b, **how)

    def _matmul(self, a: Array, b: Any, bits: int, onto: Array | None) -> Array:
        self.note("matmul", a.size * b.shape[-1])
        return super()._matmul(a, b, bits, onto)

    def _times(
        self, x: Array, weight: Weight, bits: int, by: Tiled | None, onto: Array | None
    ) -> Array:
        if len(weight.shape) == 1:
            self.note("mix", x.size)
        else:
            work = math.prod(by.inner(x.shape) if by else x.shape) * weight.shape[-1]
            if weight.small:
                self.note(SMALL, work * -(-bits // 8))
            else:
                self.note("matmul", work)
        return super()._times(x, weight, bits, by, onto)

    def opened_share(self, x: Opened) -> Array:
        self.note("opened", x.y.size)
        return super().opened_share(x)

    def opened_square(self, x: Opened, **shares: Any) -> Array:
        self.note("opened", x.y.size)
        return super().opened_square(x, **shares)

    def opened_product(self, a: Opened, b: Opened, **shares: Any) -> Array:
        self.note("opened", 2 * max(a.y.size, b.y.size))
        return super().opened_product(a, b, **shares)

    def harmonic(self, onto: Array, x: Array, *how: Any) -> Array:
        self.note("harmonic", x.size)
        return super().harmonic(onto, x, *how)

    def lookup(self, keys: Mapping[str, Words], bits: int, index: Array, table: Words) -> Array:
        self.note("look-up", index.size << bits)
        return super().lookup(keys, bits, index, table)

    def line(self, keys: Mapping[str, Words], bits: int, index: Array, table: Table) -> Array:
        self.note("walk", index.size * bits)
        return super().line(keys, bits, index, table)

    def curve(self, keys: Mapping[str, Words], bits: int, index: Array, table: Curve) -> Array:
        self.note("walk", index.size * bits)
        return super().curve(keys, bits, index, table)

    def below(self, keys: Mapping[str, Words], bits: int, points: Sequence[Array]) -> list[Array]:
        self.note("compare", bits * sum(each.size for each in points))
        return super().below(keys, bits, points)


class _Moved(Sizes):
    """Messages whose bytes one party notes, as it sends and reads them."""

    def __init__(self, party: _Rehearsing) -> None:
        self._party = party
        self._awaited = False

    def encode(self, payload: Array, bits: int) -> int:
        size = super().encode(payload, bits)
        self._party.note(SEND, size)
        return size

    def size(self, message: int) -> int:
        self._awaited = True
        return super().size(message)

    def decode(self, data: None, transfer: Transfer) -> Array:
        self._party.note(RECEIVE, transfer.nbytes)
        if self._awaited:  # waking up takes its time once the bytes are there
            self._party.note(MESSAGE, 1)
            self._awaited = False
        return super().decode(data, transfer)


def rehearse(program: Callable[[Party], Protocol[Any]]) -> dict[Role, list[Step]]:
    """The steps of either party of a program that runs on shapes."""
    parties = {role: _Rehearsing(role) for role in (CLIENT, SERVER)}

    def taker(party: _Rehearsing) -> Callable[[AnySpec], dict[str, Array]]:
        def take(spec: AnySpec) -> dict[str, Array]:
            party.note("stock", sum(field.nbytes for field in spec.fields(party.role)))
            return ShapeParty.material(spec, party.role)

        return take

    alternate(
        {role: program(party) for role, party in parties.items()},
        {role: taker(party) for role, party in parties.items()},
        {role: _Moved(party) for role, party in parties.items()},
    )
    return {role: party.steps for role, party in parties.items()}


def work(steps: Sequence[Step]) -> dict[str, dict[str, tuple[int, int]]]:
    """By operation and kind: how many steps, and their units together."""
    found: dict[str, dict[str, tuple[int, int]]] = {}
    for step in steps:
        kinds = found.setdefault(step.operation, {})
        count, units = kinds.get(step.kind, (0, 0))
        kinds[step.kind] = (count + 1, units + step.units)
    return found
