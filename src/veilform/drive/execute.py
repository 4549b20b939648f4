"""Running one party's program, still without I/O: it says what to send, and what it needs next.

A message is everything that a party sends before it next has to wait. A party ends its message only
when it must wait, and waits for a next message only when the last one is used up, so where messages
end follows from the program alone and not from timing.

Within a message nothing waits for the rest: a part can leave as soon as it is there, and bytes are
asked for as the program needs them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any
from typing import Protocol as Interface

from veilform.correlation.specs import AnySpec
from veilform.errors import ProtocolError
from veilform.protocol.effects import Gather, Protocol, Take, Transfer, transfers_of
from veilform.roles import Role
from veilform.values import Array
from veilform.words import pack, unpack


@dataclass(frozen=True)
class Send:
    """Send this as the next part of the message. It is not written to again. No reply."""

    part: Any


@dataclass(frozen=True)
class Await:
    """This party's message, if it sent anything, ends here. Reply with the next one's bytes."""


@dataclass(frozen=True)
class Fetch:
    """Reply with the next ``nbytes`` bytes of the message awaited last."""

    nbytes: int


Step = Send | Await | Fetch


class Codec(Interface):
    """How arrays become the parts of a message, and come back."""

    def encode(self, payload: Array, bits: int) -> Any:
        """One transfer's payload as a part of a message."""

    def decode(self, data: Any, transfer: Transfer) -> Array:
        """A transfer's payload from its bytes."""

    def join(self, parts: Sequence[Any]) -> Any:
        """The parts as one message. Only for parties in one process."""

    def size(self, message: Any) -> int:
        """Bytes of a joined message."""

    def cut(self, message: Any, start: int, stop: int) -> Any:
        """The bytes of a joined message from start to stop."""


class Bytes:
    """Real arrays and real bytes."""

    def encode(self, payload: Array, bits: int) -> memoryview:
        return pack(payload, bits)

    def decode(self, data: Any, transfer: Transfer) -> Array:
        return unpack(data, transfer.shape, transfer.bits)

    def join(self, parts: Sequence[memoryview]) -> memoryview:
        return memoryview(b"".join(parts))

    def size(self, message: memoryview) -> int:
        return message.nbytes

    def cut(self, message: memoryview, start: int, stop: int) -> memoryview:
        return message[start:stop]


Steps = Generator[Step, Any, Any]
"""Yields what the program asks for, takes the reply, and returns the program's result. What was
sent since the last `Await` is the last message."""


def execute(
    role: Role,
    program: Protocol[Any],
    take: Callable[[AnySpec], Any],
    codec: Codec | None = None,
) -> Steps:
    """Runs a program as one party.

    Args:
        take: gives this party's material for a spec.
        codec: real bytes unless a trace says otherwise.

    Raises:
        ProtocolError: when a message does not hold what the program expects.
    """
    codec = codec or Bytes()
    size = left = 0  # bytes of the last message, and those not asked for yet
    reply: Any = None
    while True:
        try:
            effect = program.send(reply)
        except StopIteration as stop:
            if left:
                raise ProtocolError(
                    f"{left} bytes are left of the last message; the peer runs another program"
                ) from None
            return stop.value
        if isinstance(effect, Take):
            reply = take(effect.spec)
            continue
        moved = transfers_of(effect)
        for transfer in moved:
            if role in transfer.senders:
                yield Send(codec.encode(transfer.payload, transfer.bits))
        replies: list[Array] = []
        for transfer in moved:
            if role.peer not in transfer.senders:
                replies.append(None)
                continue
            if not left:
                size = left = yield Await()
            if transfer.nbytes > left:
                raise ProtocolError(
                    f"a message of {size} bytes ends where {transfer} is due; "
                    "the peer runs another program"
                )
            left -= transfer.nbytes
            replies.append(codec.decode((yield Fetch(transfer.nbytes)), transfer))
        reply = tuple(replies) if isinstance(effect, Gather) else replies[0]
