"""Handshakes beside each other, and those that are finished: both of bounded number.

A stranger who is slow on purpose must keep nobody out. When all places are taken, the oldest
handshake makes room for the newest connection, unless it is younger than `GRACE_S`: an honest one
is finished by then.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from veilform.errors import VeilformError
from veilform.roles import Role
from veilform.transport.handshake import close_quietly
from veilform.transport.sockets import NothingSaid, TlsStream

AT_ONCE = 16
GRACE_S = 0.5


@dataclass
class Arrival:
    """A finished handshake: a connection and its role, or why there is none."""

    stream: TlsStream | None = None
    role: Role | None = None
    key: str = ""
    error: VeilformError | None = None


@dataclass
class _UnderWay:
    plain: socket.socket
    since: float
    making_room: bool = False

    def hang_up(self) -> None:
        """Ends it; its thread notices."""
        with contextlib.suppress(OSError):
            self.plain.shutdown(socket.SHUT_RDWR)


class Arrivals:
    """Who has connected and is not yet accepted.

    Args:
        shake: does the handshake over a connection with the peer of that name.
        wake: called when one is finished.
    """

    def __init__(
        self, shake: Callable[[socket.socket, str], Arrival], wake: Callable[[], object]
    ) -> None:
        self._shake, self._wake = shake, wake
        self._lock = threading.Lock()
        self._running: dict[threading.Thread, _UnderWay] = {}
        self._finished: deque[Arrival] = deque()
        self._closed = False

    def begin(self, plain: socket.socket, whence: str) -> None:
        """Starts the handshake over a connection, or hangs up on it."""
        with self._lock:
            if self._closed or not self._has_room():
                close_quietly(plain)
                return
            thread = threading.Thread(
                target=self._run, args=(plain, whence), name="veilform-handshake", daemon=True
            )
            self._running[thread] = _UnderWay(plain, time.monotonic())
            thread.start()

    def next(self) -> Arrival | None:
        """The first that is finished, if there is one."""
        with self._lock:
            return self._finished.popleft() if self._finished else None

    def close(self) -> None:
        """Ends what is under way, and hangs up on who was not accepted."""
        with self._lock:
            self._closed = True
            for each in self._running.values():
                each.hang_up()
            threads = list(self._running)
        for thread in threads:
            thread.join()
        while (left := self.next()) is not None:
            if left.stream is not None:
                left.stream.close()

    def _has_room(self) -> bool:
        """Whether a handshake may begin; the oldest may have to end for it."""
        if len(self._running) + len(self._finished) < AT_ONCE:
            return True
        # Those that make room end at once, but not at this very moment.
        live = [each for each in self._running.values() if not each.making_room]
        if len(self._running) >= 2 * AT_ONCE or not live:
            return False
        oldest = live[0]
        if time.monotonic() < oldest.since + GRACE_S:
            return False
        oldest.making_room = True
        oldest.hang_up()
        return True

    def _run(self, plain: socket.socket, whence: str) -> None:
        arrival: Arrival | None = None
        with contextlib.suppress(NothingSaid):
            arrival = self._shake(plain, whence)
        with self._lock:
            made_room = self._running.pop(threading.current_thread()).making_room
            if arrival is None or (made_room and arrival.stream is None):
                return
            self._finished.append(arrival)
            if not self._closed:
                self._wake()
