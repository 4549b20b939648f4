"""The TLS context of a party whose certificate is renewed while it runs."""

from __future__ import annotations

import logging
import ssl
import threading
import time

from veilform.errors import InputError
from veilform.transport.handshake import tls_context
from veilform.transport.identity import Identity

log = logging.getLogger("veilform")

_DAY_S = 86_400.0


class Contexts:
    """The context of an identity's files as they are; those that cannot be used change nothing.

    Also warns in the log, once a day, when the certificate ends soon.

    Raises:
        InputError: the files cannot be used from the start.
    """

    def __init__(self, identity: Identity, listening: bool) -> None:
        self._identity = identity
        self._listening = listening
        self._lock = threading.Lock()
        self._warned = -_DAY_S
        self._seen = self._state()
        self._context = tls_context(identity, listening)
        self._warn()

    def current(self) -> ssl.SSLContext:
        """The context for the next connection."""
        with self._lock:
            state = self._state()
            if state != self._seen:
                self._seen = state
                self._renew()
            self._warn()
            return self._context

    def _renew(self) -> None:
        try:
            self._identity.check()
            self._context = tls_context(self._identity, self._listening)
        except InputError as error:
            # Half of a renewal perhaps: the other half changes the files again.
            log.warning("new certificates are not in use: %s", error)
            return
        self._warned = -_DAY_S
        log.info("the certificates of the %s were renewed", self._identity.role.value)

    def _state(self) -> tuple[tuple[int, int, int] | None, ...]:
        identity = self._identity
        found: list[tuple[int, int, int] | None] = []
        for path in (identity.authority, identity.revoked, identity.certificate, identity.key):
            try:
                stat = path.stat()
            except OSError:
                found.append(None)
            else:
                found.append((stat.st_ino, stat.st_mtime_ns, stat.st_size))
        return tuple(found)

    def _warn(self) -> None:
        if time.monotonic() < self._warned + _DAY_S:
            return
        self._warned = time.monotonic()
        try:
            warning = self._identity.warning()
        except InputError:
            return
        if warning:
            log.warning("%s", warning)
