"""The TLS context of a party whose certificate is renewed while it runs."""

from __future__ import annotations

import contextlib
import logging
import ssl
import threading
import time

from veilform.errors import InputError
from veilform.transport.handshake import tls_context
from veilform.transport.identity import Identity

log = logging.getLogger("veilform")

_DAY_S = 86_400.0


class EndsSoon:
    """Warns in the log, once a day at most, while the certificate of an identity ends soon."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._looked = -_DAY_S

    def look(self, again: bool = False) -> None:
        """Warns if it is time, or if ``again``."""
        if not again and time.monotonic() < self._looked + _DAY_S:
            return
        self._looked = time.monotonic()
        with contextlib.suppress(InputError):
            if warning := self._identity.warning():
                log.warning("%s", warning)


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
        self._ends = EndsSoon(identity)
        self._seen = self._state()
        self._context = tls_context(identity, listening)
        self._ends.look()

    def current(self) -> ssl.SSLContext:
        """The context for the next connection."""
        with self._lock:
            state = self._state()
            if state != self._seen:
                self._seen = state
                self._renew()
            self._ends.look()
            return self._context

    def _renew(self) -> None:
        try:
            self._identity.check()
            self._context = tls_context(self._identity, self._listening)
        except InputError as error:
            # Half of a renewal perhaps: the other half changes the files again.
            log.warning("new certificates are not in use: %s", error)
            return
        self._ends.look(again=True)
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
