"""Two connected streams in one process, for tests and local use. They end as sockets end."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from veilform.roles import Role
from veilform.transport.channel import Channel
from veilform.transport.links import Link, shaped
from veilform.transport.settings import Settings
from veilform.transport.streams import Deadline, Stream

_PIECE_BYTES = 2**18


class _Pipe:
    """One direction: at most ``capacity`` bytes on the way, as in a socket's buffers."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._pieces: deque[memoryview] = deque()
        self._held = 0
        self._ended = False
        self._broken = False
        self._changed = threading.Condition()

    def write(self, view: memoryview, deadline: Deadline) -> None:
        for start in range(0, len(view), _PIECE_BYTES):
            piece = memoryview(bytes(view[start : start + _PIECE_BYTES]))
            with self._changed:
                if not self._changed.wait_for(self._writable, deadline.left()):
                    raise TimeoutError("the peer reads nothing")
                if self._broken:
                    raise BrokenPipeError("the peer has closed the connection")
                if self._ended:
                    raise ConnectionAbortedError("closed on this side")
                self._pieces.append(piece)
                self._held += len(piece)
                self._changed.notify_all()

    def read_into(self, view: memoryview, deadline: Deadline) -> int:
        filled = 0
        while filled < len(view):
            with self._changed:
                if not self._changed.wait_for(self._readable, deadline.left()):
                    raise TimeoutError("nothing came")
                if self._broken:
                    raise ConnectionAbortedError("closed on this side")
                if not self._pieces:
                    return filled
                piece = self._pieces.popleft()
                taken = min(len(piece), len(view) - filled)
                if taken < len(piece):
                    self._pieces.appendleft(piece[taken:])
                self._held -= taken
                self._changed.notify_all()
            view[filled : filled + taken] = piece[:taken]
            filled += taken
        return filled

    def has_room(self, size: int) -> bool:
        """Whether a write of ``size`` bytes would not wait."""
        return self._held + size <= self._capacity

    def end(self) -> None:
        """The writing side closes: what was written can still be read, then comes the end."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def break_off(self) -> None:
        """The reading side closes: writing fails from now on."""
        with self._changed:
            self._broken = True
            self._pieces.clear()
            self._changed.notify_all()

    def _writable(self) -> bool:
        return self._held < self._capacity or self._broken or self._ended

    def _readable(self) -> bool:
        return bool(self._pieces) or self._broken or self._ended


class LoopbackStream(Stream):
    """One end of a pair; see `stream_pair`."""

    def __init__(self, outgoing: _Pipe, incoming: _Pipe) -> None:
        self._outgoing = outgoing
        self._incoming = incoming

    def send_all(self, buffers: Sequence[memoryview], timeout_s: float) -> None:
        """See `Stream.send_all`."""
        deadline = Deadline(timeout_s)
        for buffer in buffers:
            self._outgoing.write(buffer, deadline)

    def has_room(self, size: int) -> bool:
        """See `Stream.has_room`."""
        return self._outgoing.has_room(size)

    def receive_exactly_into(self, view: memoryview, timeout_s: float) -> int:
        """See `Stream.receive_exactly_into`."""
        return self._incoming.read_into(view, Deadline(timeout_s))

    def close(self, linger_s: float = 0.0) -> None:
        """See `Stream.close`."""
        self._outgoing.end()
        self._incoming.break_off()


def stream_pair(capacity_bytes: int = 2**21) -> tuple[LoopbackStream, LoopbackStream]:
    """Two connected streams with room for about ``capacity_bytes`` on the way in each direction."""
    there, back = _Pipe(capacity_bytes), _Pipe(capacity_bytes)
    return LoopbackStream(there, back), LoopbackStream(back, there)


def channel_pair(
    first: Role, second: Role, settings: Settings | None = None, link: Link | None = None
) -> tuple[Channel, Channel]:
    """Two connected channels: what ``first`` holds (its peer is ``second``), then the other."""
    left, right = stream_pair()
    return (
        Channel(shaped(left, link), second, settings),
        Channel(shaped(right, link), first, settings),
    )
