"""A listening process: accepts parties, serves each in a thread of its own, ends cleanly."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection

from veilform.errors import ConnectionFailed, ProtocolError, VeilformError
from veilform.roles import Role
from veilform.transport import Channel, Listener, PeerError, PeerLeft

log = logging.getLogger("veilform")

MOST_CONNECTIONS = 16
IDLE_S = 3600.0
"""A party that says nothing for this long is let go."""


class Service:
    """Runs ``serve(channel, role)`` for each party that connects, until stopped."""

    def __init__(
        self,
        listener: Listener,
        expect: Collection[Role],
        serve: Callable[[Channel, Role], None],
    ) -> None:
        self._listener = listener
        self._expect = expect
        self._serve = serve
        self._channels: set[Channel] = set()
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()
        self._stopping = False

    def run(self) -> None:
        """Accepts until :meth:`stop`. One party's failure ends its own connection only."""
        while not self._stopping:
            try:
                channel, role = self._listener.accept(self._expect)
            except VeilformError as error:
                if not self._stopping:
                    log.warning("a connection was refused: %s", error)
                continue
            with self._lock:
                full = len(self._threads) >= MOST_CONNECTIONS
                if not full and not self._stopping:
                    thread = threading.Thread(
                        target=self._one,
                        args=(channel, role),
                        daemon=True,
                        name=f"serve-{role.value}",
                    )
                    self._threads.add(thread)
                    self._channels.add(channel)
                    thread.start()
                    continue
            channel.send_error(f"{MOST_CONNECTIONS} parties are connected; try again later")
            channel.close()

    def stop(self) -> None:
        """Stops accepting and closes every connection. May be called again, from any thread."""
        with self._lock:
            self._stopping = True
            channels = list(self._channels)
        self._listener.close()
        for channel in channels:
            channel.close()

    def _one(self, channel: Channel, role: Role) -> None:
        try:
            with channel:
                self._serve_until_left(channel, role)
        finally:
            with self._lock:
                self._channels.discard(channel)
                self._threads.discard(threading.current_thread())

    def _serve_until_left(self, channel: Channel, role: Role) -> None:
        try:
            self._serve(channel, role)
        except PeerLeft:
            return
        except PeerError as error:
            log.warning("%s", error)
        except (ConnectionFailed, ProtocolError, VeilformError) as error:
            log.warning("the connection of the %s ended: %s", role.value, error)
            channel.send_error(str(error))
        except Exception as error:
            # The text may hold anything: only its kind is told, and only here.
            log.error("serving the %s failed: %s", role.value, type(error).__name__)
            channel.send_error("it failed; its operator finds more in its log")
