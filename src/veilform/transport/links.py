"""A slower link around a stream: a given bandwidth and round trip, on one machine.

Byte n of what is sent at time t arrives at  t + n / bandwidth + round_trip / 2, not before, and
later by what a thread takes to wake up: some 0.1 ms, however much is sent. Sending occupies the
link for the first part only, so messages follow each other while earlier ones are still on their
way. Frames are shaped; the TCP and TLS handshakes before them are not.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from veilform.errors import InputError
from veilform.transport.streams import Deadline, Stream

_SEGMENT_BYTES = 2**16
_ON_THE_WAY_BYTES = 2**25
_CLOSE_S = 5.0


@dataclass(frozen=True)
class Link:
    """A link of ``bandwidth_bits_per_s`` each way and a round trip of ``round_trip_s`` seconds."""

    bandwidth_bits_per_s: float
    round_trip_s: float

    def __post_init__(self) -> None:
        if self.bandwidth_bits_per_s <= 0 or self.round_trip_s < 0:
            raise ValueError("a link has a positive bandwidth and no negative round trip")


LOOPBACK = Link(float("inf"), 0.0)
LAN = Link(1e9, 1e-3)
WAN = Link(2e8, 40e-3)
PRESETS = {"loopback": LOOPBACK, "lan": LAN, "wan": WAN}


def named(name: str) -> Link:
    """A preset by its name: loopback (no change), lan (1 Gbit/s, 1 ms) or wan (200 Mbit/s, 40 ms).

    Raises:
        InputError: there is none.
    """
    if name not in PRESETS:
        raise InputError(f"the link {name!r} is not known; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]


_LINK = re.compile(r"(\d+(?:\.\d+)?)(k|m|g)bit/(\d+(?:\.\d+)?)ms")
_BITS = {"k": 1e3, "m": 1e6, "g": 1e9}


def parse(text: str) -> Link:
    """A preset's name, or bandwidth and round trip as in ``200mbit/40ms``.

    Raises:
        InputError: neither.
    """
    found = _LINK.fullmatch(text.lower())
    if found is None:
        if text not in PRESETS:
            raise InputError(
                f"the link {text!r} is not known; choose one of {', '.join(PRESETS)}, or give "
                "bandwidth and round trip, as 200mbit/40ms"
            )
        return PRESETS[text]
    bandwidth = float(found[1]) * _BITS[found[2]]
    if bandwidth <= 0:
        raise InputError(f"the link {text!r} carries nothing")
    return Link(bandwidth, float(found[3]) / 1e3)


class Timetable:
    """When bytes arrive that are handed to one direction of ``link``, in seconds of any clock."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.free_at = float("-inf")

    def arrival(self, now: float, count: int) -> float:
        """When the last of ``count`` bytes, handed over now, arrives."""
        taken = 8 * count / self._link.bandwidth_bits_per_s
        self.free_at = max(now, self.free_at) + taken
        return self.free_at + self._link.round_trip_s / 2


def shaped(stream: Stream, link: Link | None) -> Stream:
    """``stream`` behind ``link``; the stream itself where the link changes nothing."""
    return stream if link is None or link == LOOPBACK else ShapedStream(stream, link)


class ShapedStream(Stream):
    """Delays what is sent through it. Shape both ends to shape both directions.

    The bytes under way are copied, at most about 32 MiB of them. Sending does not wait for the link
    as long as they fit, so a late sender does not leave the link idle.
    """

    def __init__(self, stream: Stream, link: Link) -> None:
        self._stream = stream
        self._link = link
        self._timetable = Timetable(link)
        self._way: deque[tuple[float, memoryview, float]] = deque()
        self._way_bytes = 0
        self._closing = False
        self._failure: OSError | None = None
        self._changed = threading.Condition()
        self._courier = threading.Thread(target=self._run, name="veilform-link", daemon=True)
        self._courier.start()

    def has_room(self, size: int) -> bool:
        """See `Stream.has_room`. Short messages only, as the bytes are copied."""
        return size <= _SEGMENT_BYTES and self._way_bytes + size <= _ON_THE_WAY_BYTES

    def send_all(self, buffers: Sequence[memoryview], timeout_s: float) -> None:
        """See `Stream.send_all`."""
        deadline = Deadline(timeout_s)
        for buffer in buffers:
            for start in range(0, len(buffer), _SEGMENT_BYTES):
                self._send(memoryview(bytes(buffer[start : start + _SEGMENT_BYTES])), deadline)

    def receive_exactly_into(self, view: memoryview, timeout_s: float) -> int:
        """See `Stream.receive_exactly_into`."""
        return self._stream.receive_exactly_into(view, timeout_s)

    def close(self, linger_s: float = 0.0) -> None:
        """See `Stream.close`."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            occupied_s = max(0.0, self._timetable.free_at - time.monotonic())
        self._courier.join(occupied_s + self._link.round_trip_s + _CLOSE_S)
        self._stream.close(linger_s)
        self._courier.join()

    def _send(self, segment: memoryview, deadline: Deadline) -> None:
        with self._changed:
            if not self._changed.wait_for(self._has_room, deadline.left()):
                raise TimeoutError("the peer reads nothing")
            if self._failure is not None:
                raise ConnectionAbortedError(str(self._failure)) from self._failure
            if self._closing:
                raise ConnectionAbortedError("closed on this side")
            due = self._timetable.arrival(time.monotonic(), len(segment))
            self._way.append((due, segment, deadline.left()))
            self._way_bytes += len(segment)
            self._changed.notify_all()

    def _has_room(self) -> bool:
        free = self._way_bytes < _ON_THE_WAY_BYTES
        return free or self._closing or self._failure is not None

    def _run(self) -> None:
        try:
            while self._deliver_next():
                pass
        except OSError as error:
            with self._changed:
                self._failure = error
                self._way.clear()
                self._changed.notify_all()

    def _deliver_next(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._way or self._closing)
            if not self._way:
                return False
            due, segment, timeout_s = self._way.popleft()
        time.sleep(max(0.0, due - time.monotonic()))
        self._stream.send_all([segment], timeout_s)
        with self._changed:
            self._way_bytes -= len(segment)
            self._changed.notify_all()
        return True
