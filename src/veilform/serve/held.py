"""What two parties hold for each other, told in lists of ids: see `say.Held`."""

from __future__ import annotations

from collections.abc import Collection

from veilform.errors import ProtocolError
from veilform.serve import messages as say
from veilform.transport import Channel


def send_held(channel: Channel, stocks: Collection[str]) -> None:
    """Sends a list of stocks, in as many records as it takes.

    Raises:
        ConnectionFailed, ProtocolError: as in `Channel.send_control`.
    """
    ids = tuple(stocks)[: say.MOST_HELD * say.MOST_HELD_RECORDS]
    for start in range(0, max(1, len(ids)), say.MOST_HELD):
        end = start + say.MOST_HELD
        channel.send_control(say.Held(ids[start:end], last=end >= len(ids)))


def receive_held(channel: Channel, first: say.Held | None = None) -> set[str]:
    """The peer's list.

    Args:
        first: its first record, if that was received already.

    Raises:
        ProtocolError: it does not end.
        ConnectionFailed: as in `Channel.receive_control`.
    """
    stocks: set[str] = set()
    for _ in range(say.MOST_HELD_RECORDS):
        held, first = first or channel.receive_control(say.Held), None
        stocks.update(held.stocks)
        if held.last:
            return stocks
    raise ProtocolError("the peer's list of stocks does not end")
