"""Exact counts of what passed a channel, by direction and kind of frame.

Wire bytes are payload plus frame headers: the figure a protocol declares. TLS records and TCP/IP
packets around them are the network's business and are not counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from veilform.transport.frames import HEADER_BYTES, Kind


@dataclass(frozen=True)
class Tally:
    """Frames and the bytes in them."""

    frames: int = 0
    payload_bytes: int = 0

    @property
    def wire_bytes(self) -> int:
        """Payload bytes plus 16 bytes of header for each frame."""
        return self.payload_bytes + HEADER_BYTES * self.frames

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.frames + other.frames, self.payload_bytes + other.payload_bytes)

    def __sub__(self, other: Tally) -> Tally:
        return Tally(self.frames - other.frames, self.payload_bytes - other.payload_bytes)


@dataclass(frozen=True)
class Direction:
    """One direction's tallies, one for each kind of frame."""

    by_kind: Mapping[Kind, Tally] = field(default_factory=dict)

    def __getitem__(self, kind: Kind) -> Tally:
        return self.by_kind.get(kind, Tally())

    def __sub__(self, other: Direction) -> Direction:
        return Direction({kind: self[kind] - other[kind] for kind in Kind})

    @property
    def total(self) -> Tally:
        """All kinds together."""
        return sum((self[kind] for kind in Kind), Tally())


@dataclass(frozen=True)
class Traffic:
    """What a channel sent and received, at one moment or (by subtraction) between two."""

    sent: Direction = field(default_factory=Direction)
    received: Direction = field(default_factory=Direction)

    def __sub__(self, other: Traffic) -> Traffic:
        return Traffic(self.sent - other.sent, self.received - other.received)


class Counters:
    """The running counts of one channel.

    A frame counts as sent once the channel has accepted it, and as received once it is complete.
    """

    def __init__(self) -> None:
        self._sent = {kind: [0, 0] for kind in Kind}
        self._received = {kind: [0, 0] for kind in Kind}

    def count_sent(self, kind: Kind, payload_bytes: int) -> None:
        """One more frame left with this many payload bytes."""
        _count(self._sent[kind], payload_bytes)

    def count_received(self, kind: Kind, payload_bytes: int) -> None:
        """One more frame came with this many payload bytes."""
        _count(self._received[kind], payload_bytes)

    def snapshot(self) -> Traffic:
        """The counts now, as values that no longer change."""
        return Traffic(_direction(self._sent), _direction(self._received))


def _count(tally: list[int], payload_bytes: int) -> None:
    tally[0] += 1
    tally[1] += payload_bytes


def _direction(counted: Mapping[Kind, list[int]]) -> Direction:
    return Direction({kind: Tally(*tally) for kind, tally in counted.items()})
