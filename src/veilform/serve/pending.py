"""A stock between its dealing and its collection: a bounded queue with an end or a failure.

One thread deals and `put`s, another hands `parts` out to the server. So dealing goes on while the
server collects, and waits when the server does not.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence

from veilform.errors import StockError
from veilform.serve.segments import DEALING_S

MOST_QUEUED_BYTES = 32 << 20
COLLECT_S = 120.0
"""The longest wait for the server to take something."""

Parts = Sequence[memoryview]


class Pending:
    """The server's part of one stock. Its text form shows no content.

    Attributes:
        manifest: the digest of what it is dealt for.
        seed: the server's.
        made: when, by the monotonic clock.
    """

    def __init__(self, manifest: str, seed: bytes) -> None:
        self.manifest, self.seed, self.made = manifest, seed, time.monotonic()
        self._queue: deque[Parts] = deque()
        self._queued = 0
        self._ended = False
        self._failure = ""
        self._changed = threading.Condition()

    @property
    def queued_bytes(self) -> int:
        """What it holds now. More than `MOST_QUEUED_BYTES` only for a single larger part."""
        return self._queued

    def put(self, parts: Parts) -> None:
        """Queues the part of one correlation; waits while too much is queued.

        Raises:
            StockError: nobody collects it in time, or it was given up.
        """
        size = sum(map(len, parts))
        with self._changed:
            if not self._changed.wait_for(lambda: self._takes(size), COLLECT_S):
                self._fail("the server did not collect the stock in time")
            if self._failure:
                raise StockError(self._failure)
            if size:
                self._queue.append(parts)
                self._queued += size
                self._changed.notify_all()

    def end(self) -> None:
        """All of it was put."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def give_up(self, reason: str) -> None:
        """Ends it for both sides, and drops what it holds."""
        with self._changed:
            self._fail(reason)

    def parts(self) -> Iterator[Parts]:
        """What was put, in order, as it comes. For one reader.

        Raises:
            StockError: it was given up, or its dealing does not go on.
        """
        while True:
            with self._changed:
                if not self._changed.wait_for(self._gives, DEALING_S):
                    self._fail("the dealing of the stock does not go on")
                if self._failure:
                    raise StockError(self._failure)
                if not self._queue:
                    return
                parts = self._queue.popleft()
                self._queued -= sum(map(len, parts))
                self._changed.notify_all()
            yield parts

    def _takes(self, size: int) -> bool:
        fits = not self._queued or self._queued + size <= MOST_QUEUED_BYTES
        return fits or bool(self._failure)

    def _gives(self) -> bool:
        return bool(self._queue) or self._ended or bool(self._failure)

    def _fail(self, reason: str) -> None:
        self._failure = self._failure or reason
        self._queue.clear()
        self._queued = 0
        self._changed.notify_all()

    def __repr__(self) -> str:
        return f"Pending({self._queued} bytes queued)"
