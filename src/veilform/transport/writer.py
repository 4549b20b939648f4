"""The writer thread: sending goes on while the party computes.

The queue is bounded in bytes. It holds the callers' buffers themselves, never copies, so a buffer
must stay unchanged until it has been sent (`Writer.flush` waits for that).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from veilform.transport.streams import Stream


class Writer:
    """A thread that sends queued messages in order.

    Args:
        stream: where the bytes go.
        capacity_bytes: `put` waits while this much is queued. A message larger than that is
            accepted when the queue is empty.
        timeout_s: seconds the stream has for a message, besides its length.
        slowest_bytes_per_s: with this rate the length of a message adds to its time.
    """

    def __init__(
        self,
        stream: Stream,
        capacity_bytes: int,
        timeout_s: float,
        slowest_bytes_per_s: float,
    ) -> None:
        self._stream = stream
        self._capacity = capacity_bytes
        self._timeout_s = timeout_s
        self._rate = slowest_bytes_per_s
        self._queue: deque[tuple[Sequence[memoryview], int]] = deque()
        self._queued_bytes = 0
        self._stopping = False
        self._failure: BaseException | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="veilform-writer", daemon=True)
        self._thread.start()

    @property
    def failure(self) -> BaseException | None:
        """What ended the thread before its time, if anything did."""
        return self._failure

    def put(self, buffers: Sequence[memoryview], timeout_s: float) -> None:
        """Queue one message. Does nothing once the thread has failed: see `failure`.

        Raises:
            TimeoutError: the queue stayed full for ``timeout_s`` seconds.
        """
        size = sum(len(buffer) for buffer in buffers)
        with self._changed:
            if not self._changed.wait_for(lambda: self._accepts(size), timeout_s):
                raise TimeoutError("the queue stayed full")
            if self._failure is None and not self._stopping:
                self._queue.append((buffers, size))
                self._queued_bytes += size
                self._changed.notify_all()

    def flush(self, timeout_s: float) -> None:
        """Wait until everything queued was handed to the stream, or the thread has failed.

        Raises:
            TimeoutError: that took longer than ``timeout_s`` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: not self._queued_bytes, timeout_s):
                raise TimeoutError("the queue did not empty")

    def stop(self, timeout_s: float) -> bool:
        """Let the thread send what is queued and end. False: it is still busy after the time."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _accepts(self, size: int) -> bool:
        fits = self._queued_bytes == 0 or self._queued_bytes + size <= self._capacity
        return fits or self._failure is not None or self._stopping

    def _run(self) -> None:
        try:
            while self._send_next():
                pass
        except BaseException as error:  # surfaces at the owner's next call
            with self._changed:
                self._failure = error
                self._queue.clear()
                self._queued_bytes = 0
                self._changed.notify_all()

    def _send_next(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._stopping)
            if not self._queue:
                return False
            buffers, size = self._queue.popleft()
        self._stream.send_all(buffers, self._timeout_s + size / self._rate)
        del buffers  # the memory may go while this thread waits
        with self._changed:
            self._queued_bytes -= size
            self._changed.notify_all()
        return True
