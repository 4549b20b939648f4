"""Who runs next: only so many at once, and every party has its turn."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator

from veilform.errors import Overloaded


class Turns:
    """Hands out turns, in rounds over the parties that wait and in order for each of them.

    So a party that asks for much waits for itself, and not others for it.

    Args:
        at_once: turns in use at a time.
        most_waiting: of all parties together.
    """

    def __init__(self, at_once: int, most_waiting: int) -> None:
        self._free = at_once
        self._most_waiting = most_waiting
        self._waiting: OrderedDict[Hashable, deque[threading.Event]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """How many wait."""
        with self._lock:
            return self._count()

    @contextlib.contextmanager
    def turn(self, who: Hashable, patience_s: float) -> Iterator[None]:
        """Waits for a turn, which lasts as long as the block.

        Raises:
            Overloaded: too many wait, or no turn came in time. Nothing was begun.
        """
        self._wait(who, patience_s)
        try:
            yield
        finally:
            with self._lock:
                self._pass_on()

    def _wait(self, who: Hashable, patience_s: float) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            if self._count() >= self._most_waiting:
                raise Overloaded(f"{self._most_waiting} runs wait for a turn; try again later")
            mine = threading.Event()
            self._waiting.setdefault(who, deque()).append(mine)
        try:
            if mine.wait(patience_s):
                return
        except BaseException:
            self._leave(who, mine, True)
            raise
        if self._leave(who, mine, False):
            raise Overloaded(f"no turn within {patience_s:.1f} s; try again later")

    def _leave(self, who: Hashable, mine: threading.Event, give_back: bool) -> bool:
        """Stops waiting; False if the turn came in between, which is given back if asked."""
        with self._lock:
            if mine.is_set():
                if give_back:
                    self._pass_on()
                return False
            others = self._waiting[who]
            others.remove(mine)
            if not others:
                del self._waiting[who]
            return True

    def _pass_on(self) -> None:
        """To the party whose last turn is the longest ago."""
        if not self._waiting:
            self._free += 1
            return
        who, events = self._waiting.popitem(last=False)
        events.popleft().set()
        if events:
            self._waiting[who] = events

    def _count(self) -> int:
        return sum(map(len, self._waiting.values()))
