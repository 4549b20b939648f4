"""What connected clients have offered, by client: a client may have many connections at a time."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class Connected:
    """The stocks that came over connections which are still there.

    A client tells one list of stocks on each connection. What another of its connections brings
    while it makes the list is missing in it, and is not lost for that.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._offered: dict[str, list[set[str]]] = {}

    @contextlib.contextmanager
    def client(self, peer: str) -> Iterator[set[str]]:
        """For the time of one connection: where its stocks are to be noted."""
        offered: set[str] = set()
        with self._lock:
            self._offered.setdefault(peer, []).append(offered)
        try:
            yield offered
        finally:
            with self._lock:
                left = [each for each in self._offered[peer] if each is not offered]
                if left:
                    self._offered[peer] = left
                else:
                    del self._offered[peer]

    def offered(self, peer: str) -> set[str]:
        """Over all connections of a client."""
        with self._lock:
            return {stock for each in self._offered.get(peer, ()) for stock in each.copy()}
