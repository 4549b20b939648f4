"""One party's program over a channel to the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from veilform.correlation.stock import Stock
from veilform.drive.execute import execute
from veilform.errors import ProtocolError
from veilform.protocol.effects import Protocol
from veilform.protocol.party import Party
from veilform.roles import CLIENT
from veilform.transport.channel import Channel


def run(
    program: Callable[[Party], Protocol[Any]],
    stock: Stock,
    channel: Channel,
    timeout_s: float | None = None,
) -> Any:
    """Runs a program with a stock, and returns its result.

    The manifest says the size of every message ahead; one of another size is refused unread.

    Args:
        timeout_s: the longest wait for one message, if not the channel's.

    Raises:
        ProtocolError, ConnectionFailed, StockError: the run is over, and its stock is burnt.
    """
    manifest = stock.manifest
    sizes = iter(manifest.down if stock.role is CLIENT else manifest.up)
    steps = execute(stock.role, program(Party(stock.role)), stock.take)
    message: Any = None
    while True:
        try:
            parts = steps.send(message)
        except StopIteration as stop:
            result, parts = stop.value
            if parts:
                channel.send_data(parts)
            if next(sizes, None) is not None:
                raise ProtocolError("the run ended before its last message") from None
            return result
        if parts:
            channel.send_data(parts)
        expected = next(sizes, None)
        if expected is None:
            raise ProtocolError("the program waits for a message that its manifest does not have")
        message = channel.receive_data(expected, exact=True, timeout_s=timeout_s)
