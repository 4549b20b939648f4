"""A slower link around a stream: a given bandwidth and round trip, on one machine.

Byte n of what is sent at time t arrives at  t + n / bandwidth + round_trip / 2, not before. Sending
occupies the link for the first part only, so messages follow each other while earlier ones are
still on their way. Frames are shaped; the TCP and TLS handshakes before them are not.
"""

from __future__ import annotations

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


def shaped(stream: Stream, link: Link | None) -> Stream:
    """``stream`` behind ``link``; the stream itself where the link changes nothing."""
    return stream if link is None or link == LOOPBACK else ShapedStream(stream, link)


class ShapedStream(Stream):
    """Delays what is sent through it. Shape both ends to shape both directions.

    The bytes under way are copied, at most about 32 MiB of them.
    """

    def __init__(self, stream: Stream, link: Link) -> None:
        self._stream = stream
        self._link = link
        self._free_at = 0.0
        self._way: deque[tuple[float, memoryview, float]] = deque()
        self._way_bytes = 0
        self._closing = False
        self._failure: OSError | None = None
        self._changed = threading.Condition()
        self._courier = threading.Thread(target=self._run, name="veilform-link", daemon=True)
        self._courier.start()

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
        self._courier.join(self._link.round_trip_s + _CLOSE_S)
        self._stream.close(linger_s)
        self._courier.join()

    def _send(self, segment: memoryview, deadline: Deadline) -> None:
        now = time.monotonic()
        taken = 8 * len(segment) / self._link.bandwidth_bits_per_s
        with self._changed:
            if not self._changed.wait_for(self._has_room, deadline.left()):
                raise TimeoutError("the peer reads nothing")
            if self._failure is not None:
                raise ConnectionAbortedError(str(self._failure)) from self._failure
            if self._closing:
                raise ConnectionAbortedError("closed on this side")
            self._free_at = max(now, self._free_at) + taken
            due = self._free_at + self._link.round_trip_s / 2
            self._way.append((due, segment, deadline.left()))
            self._way_bytes += len(segment)
            self._changed.notify_all()
        time.sleep(max(0.0, self._free_at - time.monotonic()))

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
