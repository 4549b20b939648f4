"""Running a program on shapes alone: what it takes, what it sends, what it costs.

The trace is where a protocol's declared cost is held against what it did: they must agree to the
byte.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from veilform.correlation.manifest import Manifest
from veilform.correlation.specs import AnySpec, Linear, MatMul
from veilform.drive.alternate import alternate
from veilform.masks import Tiled
from veilform.protocol.cost import Cost, Entry
from veilform.protocol.effects import Protocol, Transfer
from veilform.protocol.party import Party
from veilform.protocol.tables import Curve, Table
from veilform.ring import Words
from veilform.roles import CLIENT, SERVER, Role
from veilform.shapes import Abstract
from veilform.values import Array, Opened, Weight
from veilform.words import packed_size


class ShapeParty(Party):
    """A party that computes shapes."""

    @staticmethod
    def material(spec: AnySpec, role: Role) -> dict[str, Array]:
        """What a stock gives for a spec."""
        return {field.name: Abstract(field.shape) for field in spec.fields(role)}

    def mix(self, a: Array, b: Array | None = None, **how: Any) -> Array:
        return a

    def _matmul(self, a: Array, b: Any, bits: int, onto: Array | None) -> Array:
        return Abstract((*a.shape[:-1], b.shape[-1]))

    def _times(
        self, x: Array, weight: Weight, bits: int, by: Tiled | None, onto: Array | None
    ) -> Array:
        outputs = weight.shape[-1]
        return Abstract(by.outer(x.shape, outputs) if by else (*x.shape[:-1], outputs))

    def zeros(self, shape: tuple[int, ...]) -> Array:
        return Abstract(shape)

    def repeat(self, x: Array, shape: tuple[int, ...]) -> Array:
        return Abstract(shape)

    def opened_share(self, x: Opened) -> Array:
        return x.y

    def opened_square(self, x: Opened, **shares: Any) -> Array:
        return x.y

    def opened_product(self, a: Opened, b: Opened, **shares: Any) -> Array:
        return a.y

    def harmonic(self, onto: Array, x: Array, *how: Any) -> Array:
        return onto

    def lookup(self, keys: Mapping[str, Words], bits: int, index: Array, table: Words) -> Array:
        return Abstract((index.size, table.shape[1], 2))

    def line(self, keys: Mapping[str, Words], bits: int, index: Array, table: Table) -> Array:
        return Abstract((index.size, 4))

    def curve(self, keys: Mapping[str, Words], bits: int, index: Array, table: Curve) -> Array:
        return Abstract((index.size, 3))

    def below(self, keys: Mapping[str, Words], bits: int, points: Sequence[Array]) -> list[Array]:
        return list(points)

    def less(self, a: Array, b: Array) -> Array:
        return a


class Sizes:
    """Messages that have a size and no content."""

    def encode(self, payload: Array, bits: int) -> int:
        return packed_size(payload.size, bits)

    def decode(self, data: None, transfer: Transfer) -> Array:
        return Abstract(transfer.shape)

    def join(self, parts: Sequence[int]) -> int:
        return sum(parts)

    def size(self, message: int) -> int:
        return message

    def cut(self, message: int, start: int, stop: int) -> None:
        return None


@dataclass(frozen=True)
class Trace:
    """What a run will do.

    Attributes:
        specs: correlations in order.
        up, down: payload bytes of each message, client to server and back.
        entries: each protocol's declared and counted cost, both parties' multiply-adds joined.
        total: their sum.
        results: the shapes that each party's program returned.
    """

    specs: tuple[AnySpec, ...]
    up: tuple[int, ...]
    down: tuple[int, ...]
    entries: tuple[Entry, ...]
    total: Cost
    results: dict[Role, Any]

    def manifest(self, model: str, batch: int, length: int, weights: str = "") -> Manifest:
        """The manifest that binds this trace to a model, its masked weights, and an input shape."""
        return Manifest(model, weights, batch, length, self.specs, self.up, self.down)

    @property
    def messages(self) -> int:
        """Both ways together."""
        return len(self.up) + len(self.down)

    @property
    def linear_multiply_adds(self) -> int:
        """Ring multiply-adds of the linear layers: once offline at client and dealer each."""
        return sum(_linear_work(spec) for spec in self.specs if isinstance(spec, Linear))

    @property
    def dealer_multiply_adds(self) -> int:
        """Ring multiply-adds of the dealer: linear layers, and products of masks."""
        products = (spec for spec in self.specs if isinstance(spec, MatMul))
        return self.linear_multiply_adds + sum(
            spec.inner * math.prod(spec.shape) for spec in products
        )


def trace(program: Callable[[Party], Protocol[Any]]) -> Trace:
    """Runs ``program`` for both roles on shapes.

    Raises:
        AssertionError: when a protocol's declared cost is not what it did, or the parties differ.
    """
    parties = {role: ShapeParty(role) for role in (CLIENT, SERVER)}
    taken: dict[Role, list[AnySpec]] = {role: [] for role in parties}
    for party in parties.values():
        party.ledger = []

    def taker(role: Role) -> Callable[[AnySpec], dict[str, Array]]:
        def take(spec: AnySpec) -> dict[str, Array]:
            taken[role].append(spec)
            return ShapeParty.material(spec, role)

        return take

    ran = alternate(
        {role: program(parties[role]) for role in parties},
        {role: taker(role) for role in parties},
        {role: Sizes() for role in parties},
    )
    assert taken[CLIENT] == taken[SERVER], "the parties took different correlations"
    entries = tuple(
        _joined(a, b)
        for a, b in zip(parties[CLIENT].ledger or [], parties[SERVER].ledger or [], strict=True)
    )
    total = Cost()
    for entry in entries:
        assert entry.declared == entry.counted, (
            f"{entry.protocol} declares {entry.declared} and does {entry.counted}"
        )
        total = total.plus(entry.counted)
    up, down = (tuple(sum(parts) for parts in ran.sent[role]) for role in (CLIENT, SERVER))
    assert (sum(up), sum(down)) == (total.up, total.down), "a transfer has no declared cost"
    return Trace(tuple(taken[CLIENT]), up, down, entries, total, ran.results)


def _joined(client: Entry, server: Entry) -> Entry:
    """One protocol's entry from both parties': bytes seen by both alike, work from each."""
    assert client.protocol == server.protocol, "the parties ran different protocols"

    def join(a: Cost, b: Cost) -> Cost:
        return a._replace(server_multiply_adds=b.server_multiply_adds)

    return Entry(
        client.operation,
        client.protocol,
        join(client.declared, server.declared),
        join(client.counted, server.counted),
    )


def _linear_work(spec: Linear) -> int:
    return sum(term.multiply_adds for term in spec.terms)
