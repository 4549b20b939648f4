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
        """What ended sending before its time, if anything did."""
        return self._failure

    def put(self, buffers: Sequence[memoryview], timeout_s: float) -> None:
        """Queue one message. Does nothing once sending has failed: see `failure`.

        A short one goes out at once in the caller's thread where nobody has to wait for that:
        waking another thread takes longer than the message.

        Raises:
            TimeoutError: the queue stayed full for ``timeout_s`` seconds.
        """
        size = sum(len(buffer) for buffer in buffers)
        with self._changed:
            if self._queued_bytes and not self._changed.wait_for(
                lambda: self._accepts(size), timeout_s
            ):
                raise TimeoutError("the queue stayed full")
            if self._failure is not None or self._stopping:
                return
            if self._queued_bytes == 0 and self._stream.has_room(size):
                self._send_here(buffers, size)
            else:
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

    def _send_here(self, buffers: Sequence[memoryview], size: int) -> None:
        try:
            self._stream.send_all(buffers, self._timeout_s + size / self._rate)
        except BaseException as error:
            self._failure = error
            self._changed.notify_all()
            if not isinstance(error, Exception):  # an interrupt of this thread
                raise

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
            self._changed.wait_for(lambda: self._queue or self._stopping or self._failure)
            if not self._queue or self._failure is not None:
                return False
            buffers, size = self._queue.popleft()
        self._stream.send_all(buffers, self._timeout_s + size / self._rate)
        del buffers  # the memory may go while this thread waits
        with self._changed:
            self._queued_bytes -= size
            self._changed.notify_all()
        return True
