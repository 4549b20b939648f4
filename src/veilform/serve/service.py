"""A listening process: accepts parties, serves each in a thread of its own, ends cleanly."""

from __future__ import annotations

import errno
import logging
import threading
import time
import traceback
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from veilform.errors import VeilformError
from veilform.observe import Connected, Observer, Refused, ignore
from veilform.roles import Role
from veilform.serve.work import Work
from veilform.transport import Channel, Listener, PeerError, PeerLeft

log = logging.getLogger("veilform")

MOST_CONNECTIONS = 64
"""Of one role: idle clients do not keep the server from its dealer."""
MOST_OF_KEY = 32
"""Of one certificate's key: no client takes the places of all."""
ENDING_S = 1.0
_OUT_OF = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
IDLE_S = 3600.0
"""A party that says nothing for this long is let go."""


class _Peer(NamedTuple):
    role: Role
    key: str


class Service:
    """Runs ``serve(channel, role)`` for each party that connects, until stopped."""

    def __init__(
        self,
        listener: Listener,
        expect: Collection[Role],
        serve: Callable[[Channel, Role], None],
        work: Work | None = None,
        tell: Observer = ignore,
    ) -> None:
        self._listener = listener
        self._expect = expect
        self._serve = serve
        self._work = work or Work()
        self._tell = tell
        self._channels: set[Channel] = set()
        self._threads: dict[threading.Thread, _Peer] = {}
        self._lock = threading.Lock()
        self._stopping = False

    def run(self) -> bool:
        """Accepts until :meth:`stop`. One party's failure ends its own connection only.

        Returns:
            Whether all connections have ended; False if some are still busy after a second.
        """
        while not self._stopping:
            try:
                channel, role = self._listener.accept(self._expect)
            except VeilformError as error:
                if not self._stopping:
                    log.warning("a connection was refused: %s", error)
                    self._tell(Refused(party=self._listener.role.value, why=type(error).__name__))
                    if getattr(error.__cause__, "errno", None) in _OUT_OF:
                        time.sleep(ENDING_S)  # rather than fail again at once
                continue
            if not self._begin(channel, role):
                self._tell(Refused(party=self._listener.role.value, why="TooMany"))
                channel.send_error(
                    f"too many are connected: {MOST_CONNECTIONS} of a role may be, and "
                    f"{MOST_OF_KEY} with one key; try again later"
                )
                channel.close()
        deadline = time.monotonic() + ENDING_S
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def _begin(self, channel: Channel, role: Role) -> bool:
        """Serves a party in a thread of its own; False if there are too many."""
        with self._lock:
            others = [other.key for other in self._threads.values() if other.role is role]
            same = others.count(channel.peer_key)
            if self._stopping or len(others) >= MOST_CONNECTIONS or same >= MOST_OF_KEY:
                return False
            thread = threading.Thread(
                target=self._one, args=(channel, role), daemon=True, name=f"serve-{role.value}"
            )
            self._threads[thread] = _Peer(role, channel.peer_key)
            self._channels.add(channel)
            thread.start()
            self._tell_of(role)
            return True

    def _tell_of(self, role: Role) -> None:
        party, peers = self._listener.role, self._threads.values()
        count = sum(other.role is role for other in peers)
        self._tell(Connected(party=party.value, role=role.value, count=count))

    def stop(self, patience_s: float = 0.0) -> None:
        """Stops accepting and closes every connection. May be called again, from any thread.

        Args:
            patience_s: how long connections with a request in work are let go on with it.
        """
        with self._lock:
            self._stopping = True
            channels = list(self._channels)
        self._listener.close()
        if patience_s:
            for channel in channels:
                if not self._work.is_on(channel):
                    channel.close()
            self._work.end(patience_s)
        for channel in channels:
            channel.close()

    def _one(self, channel: Channel, role: Role) -> None:
        try:
            with channel:
                self._serve_until_left(channel, role)
        finally:
            with self._lock:
                self._channels.discard(channel)
                self._threads.pop(threading.current_thread(), None)
                self._tell_of(role)

    def _serve_until_left(self, channel: Channel, role: Role) -> None:
        try:
            self._serve(channel, role)
        except PeerLeft:
            return
        except PeerError as error:
            log.warning("%s", error)
        except VeilformError as error:
            if self._stopping:
                return
            log.warning("the connection of the %s ended: %s", role.value, error)
            channel.send_error(str(error))
        except Exception as error:
            # The text may hold anything: only its kind and place are told, and only here.
            log.error("serving the %s failed: %s", role.value, place(error))
            channel.send_error("it failed; its operator finds more in its log")


def place(error: Exception) -> str:
    """What an error is and where it arose, without its text."""
    frames = traceback.extract_tb(error.__traceback__)
    at = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{at}"
