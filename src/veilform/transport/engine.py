"""TLS without I/O: plain bytes on one side, records on the other.

A socket that Python's `ssl` wraps costs one system call for each record of 16 KiB sent, and two for
each received. Here many records leave or arrive with one call: see
``docs/decisions/0012-tls-in-memory.md``.
"""

from __future__ import annotations

import ssl
import threading
from typing import Any, cast


class TlsEngine:
    """One end of a TLS connection.

    Any thread may call: OpenSSL does not allow two inside one connection, so each call holds a
    lock, for microseconds.

    Args:
        server_name: the name that the listening side's certificate must bear, on the connecting
            side; None on the listening side.
    """

    def __init__(self, context: ssl.SSLContext, server_name: str | None) -> None:
        self.listens = server_name is None
        self._arrived, self._leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._arrived,
            self._leaving,
            server_side=server_name is None,
            server_hostname=server_name,
        )
        self._lock = threading.Lock()

    @property
    def peer_certificate(self) -> dict[str, Any]:
        """The peer's verified certificate, once hands are shaken."""
        with self._lock:
            return self._tls.getpeercert() or {}

    @property
    def peer_certificate_der(self) -> bytes:
        """The same, as it came."""
        with self._lock:
            return self._tls.getpeercert(binary_form=True) or b""

    def shake_hands(self) -> bool:
        """Go on with the handshake. True once it is done; otherwise more must arrive first.

        Either way, and after an error, `leaving` has what the peer must get.

        Raises:
            ssl.SSLError: the handshake failed.
        """
        with self._lock:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                return False
            return True

    def leaving(self) -> bytes:
        """Records to send."""
        with self._lock:
            return self._leaving.read()

    def seal(self, view: memoryview) -> bytes:
        """The records that carry ``view``, after whatever else had to leave."""
        with self._lock:
            rest = view
            while rest:
                rest = rest[self._tls.write(rest) :]
            return self._leaving.read()

    def arrived(self, records: memoryview) -> None:
        """Take bytes from the network; none at all means its end."""
        with self._lock:
            if records:
                self._arrived.write(records)
            else:
                self._arrived.write_eof()

    def open_into(self, view: memoryview) -> tuple[int, bool]:
        """Put what arrived into ``view``: the bytes filled, and whether the peer has ended.

        Raises:
            ssl.SSLError: a record is not the peer's.
        """
        filled, size = 0, len(view)
        read = self._tls.read
        with self._lock:
            try:
                while filled < size:  # a record each time
                    count = cast(int, read(size - filled, view[filled:]))
                    if count == 0:
                        return filled, True
                    filled += count
            except ssl.SSLWantReadError:
                return filled, False
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return filled, True
            return filled, False
