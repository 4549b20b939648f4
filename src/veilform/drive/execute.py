"""Running one party's program, still without I/O: messages out, messages in.

A message is everything that a party sends before it next has to wait. A party sends only when it
must wait, and reads a next message only when the last one is used up, so where messages end follows
from the program alone and not from timing.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any
from typing import Protocol as Interface

from veilform.correlation.specs import AnySpec
from veilform.errors import ProtocolError
from veilform.protocol.effects import Gather, Protocol, Take, Transfer, transfers_of
from veilform.roles import Role
from veilform.values import Array
from veilform.words import pack, unpack


class Codec(Interface):
    """How arrays become the parts of a message, and come back."""

    def encode(self, payload: Array, bits: int) -> Any:
        """One transfer's payload as a part of a message."""

    def open(self, message: Any) -> tuple[Any, int]:
        """A received message as something to cut, and its size in bytes."""

    def decode(self, opened: Any, start: int, stop: int, transfer: Transfer) -> Array:
        """The part of the message from byte start to byte stop."""


class Bytes:
    """Real arrays and real bytes."""

    def encode(self, payload: Array, bits: int) -> memoryview:
        return pack(payload, bits)

    def open(self, message: Any) -> tuple[memoryview, int]:
        view = memoryview(message)
        return view, view.nbytes

    def decode(self, opened: memoryview, start: int, stop: int, transfer: Transfer) -> Array:
        return unpack(opened[start:stop], transfer.shape, transfer.bits)


Messages = Generator[list[Any], Any, Any]
"""Yields the parts of a message to send, if any, and takes the next message received.
What it returns is the program's result, and the parts that are still to be sent."""


def execute(
    role: Role,
    program: Protocol[Any],
    take: Callable[[AnySpec], Any],
    codec: Codec | None = None,
) -> Messages:
    """Runs a program as one party.

    Args:
        take: gives this party's material for a spec.
        codec: real bytes unless a trace says otherwise.

    Raises:
        ProtocolError: when a message does not hold what the program expects.
    """
    codec = codec or Bytes()
    outbox: list[Any] = []
    opened: Any = None
    start = size = 0
    reply: Any = None
    while True:
        try:
            effect = program.send(reply)
        except StopIteration as stop:
            if start != size:
                raise ProtocolError(
                    f"{size - start} bytes are left of the last message; "
                    "the peer runs another program"
                ) from None
            return stop.value, outbox
        if isinstance(effect, Take):
            reply = take(effect.spec)
            continue
        moved = transfers_of(effect)
        outbox += [codec.encode(t.payload, t.bits) for t in moved if role in t.senders]
        replies: list[Array] = []
        for transfer in moved:
            if role.peer not in transfer.senders:
                replies.append(None)
                continue
            if start == size:
                opened, size = codec.open((yield outbox))
                outbox, start = [], 0
            stop_at = start + transfer.nbytes
            if stop_at > size:
                raise ProtocolError(
                    f"a message of {size} bytes ends where {transfer} is due; "
                    "the peer runs another program"
                )
            replies.append(codec.decode(opened, start, stop_at, transfer))
            start = stop_at
        reply = tuple(replies) if isinstance(effect, Gather) else replies[0]
