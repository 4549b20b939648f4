"""A stream over an established TLS connection."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable, Sequence

from veilform.transport.streams import Deadline, Stream, coalesce

_RECORD_BYTES = 2**14
_WRITE_BYTES = 2**16
_MOST_LINGER_S = 5.0


class TlsStream(Stream):
    """A `Stream` over a connected TLS socket, which it owns from now on.

    OpenSSL does not allow two threads inside one connection at a time, even for opposite
    directions. So the socket is non-blocking, each step into OpenSSL takes a lock for microseconds,
    and waiting happens outside of it.
    """

    def __init__(self, connection: ssl.SSLSocket) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._step_lock = threading.Lock()
        self._sending = threading.Lock()
        self._receiving = threading.Lock()
        self._close_lock = threading.Lock()
        self._closed = False

    def send_all(self, buffers: Sequence[memoryview], timeout_s: float) -> None:
        """See `Stream.send_all`."""
        deadline = Deadline(timeout_s)
        with self._sending:
            for piece in coalesce(buffers, _RECORD_BYTES, _WRITE_BYTES):
                rest = piece
                while rest:
                    rest = rest[self._step(self._socket.send, rest, deadline) :]

    def receive_exactly_into(self, view: memoryview, timeout_s: float) -> int:
        """See `Stream.receive_exactly_into`."""
        deadline = Deadline(timeout_s)
        filled = 0
        with self._receiving:
            while filled < len(view):
                count = self._step(self._socket.recv_into, view[filled:], deadline)
                if count == 0:
                    break
                filled += count
        return filled

    def close(self, linger_s: float = 0.0) -> None:
        """See `Stream.close`."""
        with self._close_lock:
            if self._closed:
                return
            if linger_s > 0 and self._receiving.acquire(blocking=False):
                try:
                    drain(self._socket, min(linger_s, _MOST_LINGER_S))
                finally:
                    self._receiving.release()
            self._closed = True
            with contextlib.suppress(OSError):  # wakes a thread that waits for this socket
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
            with self._sending, self._receiving:
                self._socket.close()

    def _step(
        self, operation: Callable[[memoryview], int], view: memoryview, deadline: Deadline
    ) -> int:
        while True:
            if self._closed:
                raise ConnectionAbortedError("closed on this side")
            try:
                with self._step_lock:
                    return operation(view)
            except ssl.SSLWantReadError:
                events = select.POLLIN
            except ssl.SSLWantWriteError:
                events = select.POLLOUT
            wait_for(self._socket, events, deadline)


def wait_for(waited: socket.socket, events: int, deadline: Deadline) -> None:
    """Wait until the socket is ready for ``events`` (poll's bits), or has ended.

    Raises:
        TimeoutError: the deadline passed.
    """
    poll = select.poll()
    poll.register(waited, events)
    if not poll.poll(deadline.left() * 1000):
        raise TimeoutError("deadline passed")


def drain(connection: socket.socket, seconds: float) -> None:
    """Send the end of this direction, then discard what comes until the peer ends, too.

    Closing a TCP socket with unread data resets the connection, and a reset discards the last
    bytes sent before the peer has read them: the reason for a refusal would be lost.
    """
    deadline = Deadline(seconds)
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_WR)
        while True:
            wait_for(connection, select.POLLIN, deadline)
            with contextlib.suppress(BlockingIOError):
                if not socket.socket.recv(connection, 2**16):
                    return
