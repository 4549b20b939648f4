"""One party's program over a channel to the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from veilform.correlation.stock import Stock
from veilform.drive.execute import Fetch, Send, execute
from veilform.errors import ProtocolError
from veilform.protocol.effects import Protocol
from veilform.protocol.party import Party
from veilform.roles import CLIENT
from veilform.transport.channel import Channel
from veilform.transport.streaming import Incoming, Outgoing

HEAD_BYTES = 32


class Passed(NamedTuple):
    """One message of a run that passed the channel, as both parties saw it.

    Attributes:
        number, of: which of how many messages of the run, both ways together.
        sent: by this party; received if not.
        size: bytes, without the frame's header.
        head: its first bytes.
        operation: what of the model this party was at.
    """

    number: int
    of: int
    sent: bool
    size: int
    head: bytes
    operation: str


Follow = Callable[[Passed], None]


class _Messages:
    """The messages of a run, both ways, with the sizes that its manifest says ahead."""

    def __init__(
        self,
        stock: Stock,
        channel: Channel,
        timeout_s: float | None,
        party: Party,
        follow: Follow | None,
    ) -> None:
        manifest = stock.manifest
        up, down = iter(manifest.up), iter(manifest.down)
        self._due_out, self._due_in = (up, down) if stock.role is CLIENT else (down, up)
        self._channel = channel
        self._timeout_s = timeout_s
        self._party = party
        self._follow = follow
        self._passed, self._of = 0, len(manifest.up) + len(manifest.down)
        self._outgoing: Outgoing | None = None
        self._incoming: Incoming | None = None
        self._unseen = False

    def send(self, part: Any) -> None:
        if self._outgoing is None:
            size = next(self._due_out, None)
            if size is None:
                raise ProtocolError("the program sends a message that its manifest does not have")
            self._outgoing = self._channel.begin_data(size)
            self._tell(True, size, part)
        self._outgoing.write(part)

    def end(self) -> None:
        """What was sent since the last end is a message."""
        if self._outgoing is not None:
            self._outgoing.finish()
            self._outgoing = None

    def await_next(self) -> int:
        self.end()
        size = next(self._due_in, None)
        if size is None:
            raise ProtocolError("the program waits for a message that its manifest does not have")
        self._incoming = self._channel.open_data(size, timeout_s=self._timeout_s)
        self._unseen = True
        return size

    def fetch(self, nbytes: int) -> memoryview:
        assert self._incoming is not None, "bytes are asked for after a message is awaited"
        content = self._incoming.read(nbytes)
        if self._unseen:
            self._unseen = False
            self._tell(False, self._incoming.size, content)
        return content

    def _tell(self, sent: bool, size: int, first: memoryview) -> None:
        self._passed += 1
        if self._follow is not None:
            head = bytes(first.cast("B")[:HEAD_BYTES])
            self._follow(Passed(self._passed, self._of, sent, size, head, self._party.operation))

    def close(self) -> None:
        self.end()
        if next(self._due_in, None) is not None or next(self._due_out, None) is not None:
            raise ProtocolError("the run ended before its last message")


def run(
    program: Callable[[Party], Protocol[Any]],
    stock: Stock,
    channel: Channel,
    timeout_s: float | None = None,
    party: Party | None = None,
    follow: Follow | None = None,
) -> Any:
    """Runs a program with a stock, and returns its result.

    The manifest says the size of every message ahead; one of another size is refused unread. So a
    part leaves as soon as the program has it, and the peer computes on it while the rest of the
    message is on its way.

    Args:
        timeout_s: the longest wait for one message to begin, if not the channel's.
        party: a new one of the stock's role, for who wants to ask it afterwards.
        follow: told of every message as it begins to pass. It must be quick: the run waits for it.

    Raises:
        ProtocolError, ConnectionFailed, StockError: the run is over, and its stock is burnt.
    """
    party = party or Party(stock.role)
    messages = _Messages(stock, channel, timeout_s, party, follow)
    steps = execute(stock.role, program(party), stock.take)
    reply: Any = None
    while True:
        try:
            step = steps.send(reply)
        except StopIteration as stop:
            messages.close()
            return stop.value
        reply = None
        if isinstance(step, Send):
            messages.send(step.part)
        elif isinstance(step, Fetch):
            reply = messages.fetch(step.nbytes)
        else:
            reply = messages.await_next()
