"""An iterator's items made ahead of their use, by a thread, up to a bound in bytes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """Takes items from ``source`` in a thread of its own until `close`.

    Args:
        size: bytes of an item.
        most_bytes: of the items that wait; one item may wait alone, whatever its size.
    """

    def __init__(self, source: Iterator[T], size: Callable[[T], int], most_bytes: int) -> None:
        self._source, self._size, self._most = source, size, most_bytes
        self._items: deque[tuple[T, int]] = deque()
        self._waiting_bytes = 0
        self._ended: BaseException | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="veilform-ahead", daemon=True)
        self._thread.start()

    def __iter__(self) -> Ahead[T]:
        return self

    def __next__(self) -> T:
        """The next item; waits for it.

        Raises:
            StopIteration: there are no more. Whatever else the source raised, in its place.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._ended is not None)
            if not self._items:
                assert self._ended is not None
                raise self._ended
            item, size = self._items.popleft()
            self._waiting_bytes -= size
            self._changed.notify_all()
        return item

    @property
    def waiting_bytes(self) -> int:
        """Of the items that wait now."""
        return self._waiting_bytes

    def close(self) -> None:
        """Ends the thread and drops what waits. May be called again."""
        with self._changed:
            self._closed = True
            self._end(StopIteration())
        self._thread.join()
        with self._changed:
            self._items.clear()
            self._waiting_bytes = 0

    def _run(self) -> None:
        try:
            for item in self._source:
                size = self._size(item)
                with self._changed:
                    while not (self._closed or self._room(size)):
                        self._changed.wait()
                    if self._closed:
                        return
                    self._items.append((item, size))
                    self._waiting_bytes += size
                    self._changed.notify_all()
                del item
            ended: BaseException = StopIteration()
        except BaseException as error:  # for the thread that takes
            ended = error
        with self._changed:
            self._end(ended)

    def _room(self, size: int) -> bool:
        return not self._items or self._waiting_bytes + size <= self._most

    def _end(self, ended: BaseException) -> None:
        if self._ended is None:
            self._ended = ended
        self._changed.notify_all()
