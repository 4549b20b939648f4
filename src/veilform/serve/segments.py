"""A party's dealt bytes on their way from the dealer: segments, sent while the next are dealt.

A segment is announced by a control record, which may also say that no more will come; so the
connection stays in step when dealing fails half way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

from veilform.errors import ProtocolError, StockError
from veilform.serve import messages as say
from veilform.transport import Channel
from veilform.transport.control import printable

SEGMENT_BYTES = 4 << 20
"""From this size on, a segment is sent."""
DEALING_S = 600.0
"""The longest wait for the dealer to deal one segment."""


def send_segments(channel: Channel, parts: Iterable[Sequence[memoryview]]) -> None:
    """Sends parts as they come, several to a segment.

    Raises:
        ConnectionFailed, ProtocolError: as in `Channel.send_bulk`; and whatever ``parts`` raises.
    """
    for segment in _grouped(parts):
        size = sum(map(len, segment))
        channel.send_control(say.Segment(size))
        channel.send_bulk(segment, size)


def _grouped(parts: Iterable[Sequence[memoryview]]) -> Iterator[list[memoryview]]:
    segment: list[memoryview] = []
    size = 0
    for some in parts:
        segment += some
        size += sum(map(len, some))
        if size >= SEGMENT_BYTES:
            yield segment
            segment, size = [], 0
    if size:
        yield segment


def receive_segments(channel: Channel, sink: BinaryIO, total: int) -> None:
    """Writes segments of ``total`` bytes together to ``sink``.

    Raises:
        StockError: the dealer gave the stock up.
        ProtocolError: it sends more than that.
        ConnectionFailed: as in `Channel.receive_data`.
    """
    while total:
        came = channel.receive_control(say.Segment, say.Refused, timeout_s=DEALING_S)
        if isinstance(came, say.Refused):
            raise StockError(printable(came.reason))
        if came.size > total:
            raise ProtocolError(f"the dealer sends {came.size} bytes where {total} are left")
        total -= channel.receive_bulk_into(sink, came.size)
