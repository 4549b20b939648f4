"""Which connections are in the middle of something: what a service that ends waits for."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from veilform.transport import Channel


class Work:
    """Connections with a request in work. Those that only wait for one may be closed any time."""

    def __init__(self) -> None:
        self._busy: set[Channel] = set()
        self._changed = threading.Condition()
        self._ending = False

    @contextlib.contextmanager
    def on(self, channel: Channel) -> Iterator[None]:
        """A request's time. When the service is ending, it is the connection's last."""
        with self._changed:
            self._busy.add(channel)
        try:
            yield
        finally:
            with self._changed:
                self._busy.discard(channel)
                self._changed.notify_all()
                last = self._ending
            if last:
                channel.close()

    def is_on(self, channel: Channel) -> bool:
        """Whether a request of this connection is in work."""
        with self._changed:
            return channel in self._busy

    def end(self, patience_s: float) -> bool:
        """Waits until what is in work is done; False if it takes longer than that."""
        deadline = time.monotonic() + patience_s
        with self._changed:
            self._ending = True
            while self._busy:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
            return True
