"""What a protocol costs, declared beside its code and checked against what it did.

Bytes are payload bytes, exactly as sent. Frame headers are the transport's, one a message.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple, ParamSpec, TypeVar

from veilform.correlation.specs import correction_bytes, dealt_bytes
from veilform.protocol.effects import Effect, Protocol, Take, transfers_of
from veilform.protocol.party import Party
from veilform.roles import CLIENT, SERVER

P = ParamSpec("P")
T = TypeVar("T")


class Cost(NamedTuple):
    """Bytes by channel and direction, and multiply-adds of each party's online matrix products."""

    up: int = 0
    down: int = 0
    dealt_client: int = 0
    dealt_server: int = 0
    correction: int = 0
    client_multiply_adds: int = 0
    server_multiply_adds: int = 0

    def plus(self, other: Cost) -> Cost:
        """Field by field."""
        return Cost(*(a + b for a, b in zip(self, other, strict=True)))

    @property
    def online_bytes(self) -> int:
        """Both ways together."""
        return self.up + self.down

    @property
    def offline_bytes(self) -> int:
        """From the dealer to both, and from client to server ahead of time."""
        return self.dealt_client + self.dealt_server + self.correction


class Entry(NamedTuple):
    """One protocol run: what it declared, and what passed by while it ran."""

    operation: str
    protocol: str
    declared: Cost
    counted: Cost


def cost_of(effect: Effect) -> Cost:
    """The bytes of one effect, by direction."""
    if isinstance(effect, Take):
        return Cost(
            dealt_client=dealt_bytes(effect.spec, CLIENT),
            dealt_server=dealt_bytes(effect.spec, SERVER),
            correction=correction_bytes(effect.spec),
        )
    moved = transfers_of(effect)
    return Cost(
        up=sum(t.bytes_from(CLIENT) for t in moved), down=sum(t.bytes_from(SERVER) for t in moved)
    )


def declares(
    cost: Callable[P, Cost],
) -> Callable[[Callable[P, Protocol[T]]], Callable[P, Protocol[T]]]:
    """Puts a declared cost beside a protocol. ``cost`` takes the protocol's own arguments.

    A run whose party keeps a ledger (traces and tests) has each call entered there, declared and
    counted.
    """

    def decorate(protocol: Callable[P, Protocol[T]]) -> Callable[P, Protocol[T]]:
        @functools.wraps(protocol)
        def run(*args: P.args, **kwargs: P.kwargs) -> Protocol[T]:
            party = args[0]
            assert isinstance(party, Party)
            if party.ledger is None:
                return (yield from protocol(*args, **kwargs))
            declared = cost(*args, **kwargs)
            return (
                yield from _counted(party, protocol.__name__, declared, protocol(*args, **kwargs))
            )

        run.cost = cost  # type: ignore[attr-defined]
        return run

    return decorate


def _counted(party: Party, name: str, declared: Cost, run: Protocol[T]) -> Protocol[T]:
    counted, reply, work, operation = Cost(), None, 0, party.operation
    own = "server_multiply_adds" if party.role is SERVER else "client_multiply_adds"
    while True:
        before = party.multiply_adds
        try:
            effect = run.send(reply)
        except StopIteration as stop:
            counted = counted._replace(**{own: work + party.multiply_adds - before})
            assert party.ledger is not None
            party.ledger.append(Entry(operation, name, declared, counted))
            result: T = stop.value
            return result
        work += party.multiply_adds - before
        counted = counted.plus(cost_of(effect))
        reply = yield effect


def dealt(shape: tuple[int, ...], bits: int) -> int:
    """Bytes of an array from the dealer, or of a correction: whole bytes a word."""
    return math.prod(shape) * ((bits + 7) // 8)


def sent(shape: tuple[int, ...], bits: int) -> int:
    """Bytes of an array between the parties: the same, but single bits are packed."""
    return (math.prod(shape) + 7) // 8 if bits == 1 else dealt(shape, bits)
