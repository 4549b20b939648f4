"""What a protocol may ask for. A driver answers; a protocol never touches a socket or a file.

Both parties run the same protocol and yield the same effects in the same order. That order is the
only message label: a driver at one end packs what the driver at the other end unpacks.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from veilform.correlation.specs import AnySpec
from veilform.roles import CLIENT, SERVER, Role
from veilform.words import packed_size

T = TypeVar("T")


@dataclass(frozen=True)
class Take:
    """Asks for this party's part of a correlation. The reply maps field names to arrays."""

    spec: AnySpec


@dataclass(frozen=True, repr=False)
class Transfer:
    """Each of ``senders`` sends an array of ``bits``-bit words. The reply is the peer's, or None.

    ``payload`` is this party's own part if it is a sender, else None.
    """

    shape: tuple[int, ...]
    bits: int
    senders: tuple[Role, ...]
    payload: Any = None

    def __repr__(self) -> str:
        names = "+".join(role.value for role in self.senders)
        return f"Transfer(shape={self.shape}, bits={self.bits}, from {names})"

    @property
    def nbytes(self) -> int:
        """Bytes each sender sends."""
        count = 1
        for n in self.shape:
            count *= n
        return packed_size(count, self.bits)

    def bytes_from(self, role: Role) -> int:
        """Bytes that ``role`` sends."""
        return self.nbytes if role in self.senders else 0


@dataclass(frozen=True)
class Gather:
    """Independent transfers that travel together. The reply is a tuple, in order."""

    transfers: tuple[Transfer, ...]


Effect = Take | Transfer | Gather
Protocol = Generator[Effect, Any, T]
"""A protocol that returns a ``T``."""

BOTH = (CLIENT, SERVER)


def transfers_of(effect: Effect) -> tuple[Transfer, ...]:
    """The transfers in an effect: none for a Take."""
    if isinstance(effect, Gather):
        return effect.transfers
    return (effect,) if isinstance(effect, Transfer) else ()


def together(*protocols: Protocol[Any]) -> Protocol[list[Any]]:
    """Runs independent protocols side by side; their i-th transfers travel as one.

    Returns their results.
    """
    results: list[Any] = [None] * len(protocols)
    waiting: dict[int, Effect] = {}

    def advance(i: int, reply: Any) -> Protocol[None]:
        """Runs protocol i up to its next transfer, or its end."""
        try:
            effect = protocols[i].send(reply)
            while isinstance(effect, Take):
                effect = protocols[i].send((yield effect))
            waiting[i] = effect
        except StopIteration as stop:
            waiting.pop(i, None)
            results[i] = stop.value

    for i in range(len(protocols)):
        yield from advance(i, None)
    while waiting:
        order = sorted(waiting)
        groups = [transfers_of(waiting[i]) for i in order]
        replies = yield Gather(tuple(t for group in groups for t in group))
        start = 0
        for i, group in zip(order, groups, strict=True):
            part = replies[start : start + len(group)]
            start += len(group)
            yield from advance(i, part if isinstance(waiting[i], Gather) else part[0])
    return results
