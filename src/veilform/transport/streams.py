"""What a channel needs from a connection: bytes in order, deadlines, and an end.

Implementations: `loopback` (one process), `sockets` (TLS over TCP), `links` (a slower link
around either). They raise `OSError` and its kin; the channel, which knows who the peer is and what
was expected, turns those into `ConnectionFailed`.
"""

from __future__ import annotations

import abc
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Bytes: TypeAlias = "bytes | bytearray | memoryview | npt.NDArray[Any]"
"""Anything that shows its memory as one C-contiguous piece."""


class Stream(abc.ABC):
    """An ordered, reliable stream of bytes each way.

    One thread may send while another receives. Any thread may close.
    """

    @abc.abstractmethod
    def send_all(self, buffers: Sequence[memoryview], timeout_s: float) -> None:
        """Hand over all bytes of ``buffers`` (format "B"), or raise.

        The buffers may change again once it returns.

        Raises:
            TimeoutError: not all were taken within ``timeout_s`` seconds.
            OSError: the stream is closed at either end.
        """

    def has_room(self, size: int) -> bool:
        """Whether ``size`` bytes could be sent now without waiting for the peer. May say no."""
        return False

    @abc.abstractmethod
    def receive_exactly_into(self, view: memoryview, timeout_s: float) -> int:
        """Fill ``view`` (format "B"). Returns the bytes filled: fewer only where the peer ended.

        Raises:
            TimeoutError: it is not full after ``timeout_s`` seconds.
            OSError: the stream failed, or is closed at this end.
        """

    @abc.abstractmethod
    def close(self, linger_s: float = 0.0) -> None:
        """End both directions and wake whoever waits. May be called again.

        Args:
            linger_s: seconds to go on discarding what still arrives, so that the peer can read
                the last bytes sent to it (TCP drops them when data lies unread at a close).
        """


class Deadline:
    """A point in time ``timeout_s`` seconds from now, on the monotonic clock."""

    def __init__(self, timeout_s: float) -> None:
        self._end = time.monotonic() + timeout_s

    def left(self) -> float:
        """Seconds that remain.

        Raises:
            TimeoutError: none do.
        """
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("deadline passed")
        return seconds


def as_views(parts: Iterable[Bytes]) -> list[memoryview]:
    """The memory of each part as bytes, without a copy. Empty parts are left out.

    Raises:
        TypeError: a part has no buffer.
        ValueError: a part is not C-contiguous.
    """
    views = []
    for part in parts:
        view = memoryview(part.data if isinstance(part, np.ndarray) else part)
        if not view.c_contiguous:
            raise ValueError("a part of a message must be contiguous: use np.ascontiguousarray")
        if view.nbytes:
            views.append(view.cast("B"))
    return views


def empty(size: int) -> memoryview:
    """Memory for ``size`` bytes, with anything in it."""
    return memoryview(np.empty(size, np.uint8))


def coalesce(buffers: Iterable[memoryview], small: int, large: int) -> Iterator[memoryview]:
    """The same bytes in pieces of at most ``large`` bytes, with few pieces below ``small``.

    A TLS write makes at least one record and, without Nagle's algorithm, at least one packet. So a
    header and a short payload are copied together; long payloads are sliced in place.
    """
    staged = bytearray()
    for buffer in buffers:
        rest = buffer
        if staged or len(rest) < small:
            room = small - len(staged)
            staged += rest[:room]
            rest = rest[room:]
            if len(staged) >= small:
                yield memoryview(staged)
                staged = bytearray()
        if rest and len(rest) < small:
            staged += rest
        else:
            for start in range(0, len(rest), large):
                yield rest[start : start + large]
    if staged:
        yield memoryview(staged)
