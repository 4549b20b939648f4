"""A stream over a TCP connection, through TLS."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Sequence

from veilform.transport.engine import TlsEngine
from veilform.transport.streams import Deadline, Stream, coalesce

_RECORD_BYTES = 2**14
_CALL_BYTES = 2**18  # a system call moves up to 16 records, which stay in a core's cache
_HANDSHAKE_BYTES = 2**14
_MOST_LINGER_S = 5.0


def bound(host: str, port: int) -> socket.socket:
    """A TCP socket that has the address, and does not listen yet.

    Raises:
        OSError: it is in use, or not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((host, port))
    except BaseException:
        made.close()
        raise
    return made


class NothingSaid(ConnectionAbortedError):
    """The connecting side left before its first byte."""


def shake_hands(plain: socket.socket, engine: TlsEngine, timeout_s: float) -> None:
    """Make ``plain`` non-blocking, and do the handshake of ``engine`` over it.

    Raises:
        TimeoutError: it took longer than ``timeout_s`` seconds.
        NothingSaid: the connecting side has left at once.
        OSError: it failed (``ssl.SSLError``), or the connection did. The peer was told, if it is
            still there.
    """
    plain.setblocking(False)
    deadline = Deadline(timeout_s)
    scratch = memoryview(bytearray(_HANDSHAKE_BYTES))
    heard = False
    try:
        while not engine.shake_hands():
            _send_all(plain, engine.leaving(), deadline)
            count = _receive(plain, scratch, deadline)
            if count == 0 and engine.listens and not heard:
                raise NothingSaid("left without a word")
            heard = True
            engine.arrived(scratch[:count])
    except ssl.SSLError:
        with contextlib.suppress(OSError):
            _send_all(plain, engine.leaving(), deadline)
        raise
    _send_all(plain, engine.leaving(), deadline)


class TlsStream(Stream):
    """A `Stream` over a connected non-blocking socket, which it owns from now on.

    The handshake of ``engine`` is done (`shake_hands`). Waiting happens outside of TLS, so sending
    does not hold up receiving.
    """

    def __init__(self, plain: socket.socket, engine: TlsEngine) -> None:
        self._socket = plain
        self._engine = engine
        self._scratch = memoryview(bytearray(_CALL_BYTES))
        self._writable = select.poll()
        self._writable.register(plain, select.POLLOUT)
        self._sending = threading.Lock()
        self._receiving = threading.Lock()
        self._close_lock = threading.Lock()
        self._closed = False

    def has_room(self, size: int) -> bool:
        """See `Stream.has_room`. A socket is writable while a third of its buffer is free."""
        if size > _RECORD_BYTES or self._closed:
            return False
        ready = self._writable.poll(0)
        return bool(ready) and ready[0][1] == select.POLLOUT

    def send_all(self, buffers: Sequence[memoryview], timeout_s: float) -> None:
        """See `Stream.send_all`."""
        deadline = Deadline(timeout_s)
        with self._sending:
            for piece in coalesce(buffers, _RECORD_BYTES, _CALL_BYTES):
                self._check()
                _send_all(self._socket, self._engine.seal(piece), deadline)

    def receive_exactly_into(self, view: memoryview, timeout_s: float) -> int:
        """See `Stream.receive_exactly_into`."""
        deadline = Deadline(timeout_s)
        with self._receiving:
            filled = 0
            while True:
                count, ended = self._engine.open_into(view[filled:])
                filled += count
                if ended or filled == len(view):
                    return filled
                self._check()
                arrived = _receive(self._socket, self._scratch, deadline)
                self._engine.arrived(self._scratch[:arrived])

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
                self._socket.shutdown(socket.SHUT_RDWR)
            with self._sending, self._receiving:
                self._socket.close()

    def _check(self) -> None:
        if self._closed:
            raise ConnectionAbortedError("closed on this side")


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
        connection.shutdown(socket.SHUT_WR)
        while True:
            wait_for(connection, select.POLLIN, deadline)
            with contextlib.suppress(BlockingIOError):
                if not connection.recv(2**16):
                    return


def _send_all(connection: socket.socket, records: bytes, deadline: Deadline) -> None:
    rest = memoryview(records)
    while rest:
        try:
            rest = rest[connection.send(rest) :]
        except BlockingIOError:
            wait_for(connection, select.POLLOUT, deadline)


def _receive(connection: socket.socket, scratch: memoryview, deadline: Deadline) -> int:
    """Bytes received into ``scratch``; none at the connection's end."""
    while True:
        try:
            return connection.recv_into(scratch)
        except BlockingIOError:
            wait_for(connection, select.POLLIN, deadline)
