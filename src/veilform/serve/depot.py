"""Keeps stocks ready ahead of requests, on a connection of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

from veilform.closing import Closing
from veilform.errors import InputError, StockError, StockLow, VeilformError
from veilform.models.sides import Shape
from veilform.serve.client import Client, Prepared

log = logging.getLogger("veilform")

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 60.0
LOOK_S = 1.0
"""Between looks at the store, which other processes may take from."""


class Level(NamedTuple):
    """How many stocks of a shape are ready, and how many are to be."""

    ready: int
    wanted: int


class Status(NamedTuple):
    """How a depot is.

    Attributes:
        levels: of each shape that is kept ready.
        making: what is dealt at the moment.
        failing: why nothing can be made, as long as that is so; "" otherwise.
        retry_s: the pause before the next try while it fails, or the time that a stock takes.
    """

    levels: dict[Shape, Level]
    making: Shape | None
    failing: str
    retry_s: float


class Depot(Closing):
    """A thread that has stocks dealt until each shape is at its level, and when one is taken.

    A shape without a level, or at zero, is made when somebody waits for it. When dealer, server or
    disk fail it tries again after growing pauses, on a new connection, and logs that once.

    Args:
        connect: opens a client of the store that the stocks are taken from.
        levels: how many stocks of each shape to keep ready.
        tell: is told of each level, once a second or more often.

    Raises:
        InputError: a level is below zero.
    """

    def __init__(
        self,
        connect: Callable[[], Client],
        levels: Mapping[Shape, int],
        tell: Callable[[Shape, Level], object] = lambda shape, level: None,
    ) -> None:
        if any(level < 0 for level in levels.values()):
            raise InputError("a level of stocks is at least 0")
        self._connect, self._tell = connect, tell
        self._levels = dict(levels)
        self._waiting: Counter[Shape] = Counter()
        self._changed = threading.Condition()
        self._client: Client | None = None
        self._connected = self._ending = False
        self._making: Shape | None = None
        self._failing = ""
        self._pause_s = FIRST_PAUSE_S
        self._made_s = 1.0
        self._thread = threading.Thread(target=self._run, name="veilform-depot", daemon=True)
        self._thread.start()

    def take(self, shape: Shape, deadline: float) -> Prepared:
        """A stock for one run of this shape; `Client.infer` uses it, `release` lets it go.

        Args:
            deadline: of `time.monotonic`: how long to wait for one.

        Raises:
            StockLow: there is none by then. Says when to try again.
            InputError: the model has no such length.
            StockError: the disk refuses.
        """
        with self._changed:
            self._waiting[shape] += 1
            self._changed.notify_all()
            try:
                while True:
                    if self._ending:
                        raise StockLow("no more stocks are made: this depot is closed")
                    if self._client is not None and (found := self._client.take(shape)):
                        return found
                    left = deadline - time.monotonic()
                    if left <= 0:
                        raise self._low()
                    self._changed.wait(min(left, LOOK_S))
            finally:
                self._waiting[shape] -= 1
                if not self._waiting[shape]:
                    del self._waiting[shape]

    def release(self, prepared: Prepared) -> None:
        """Gives back a stock that was taken and not used.

        Raises:
            StockError: the disk refuses.
        """
        with self._changed:
            if self._client is not None:
                self._client.release(prepared)
                self._changed.notify_all()

    @property
    def status(self) -> Status:
        """How full it is, what is being made, and what keeps it from that."""
        with self._changed:
            levels = {
                shape: Level(self._ready(shape), level) for shape, level in self._levels.items()
            }
            return Status(levels, self._making, self._failing, self._retry_s())

    def close(self) -> None:
        """Ends the thread, also in the middle of a dealing. What is ready stays in the store."""
        with self._changed:
            self._ending = True
            client = self._client
            self._changed.notify_all()
        if client is not None:
            client.close()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending:
            try:
                client = self._opened()
                shape = self._next(client)
                if shape is not None:
                    self._make(client, shape)
            except VeilformError as error:
                self._failed(error)
            except Exception as error:  # its text may hold anything
                self._failed(VeilformError(f"it failed ({type(error).__name__})"))
        if self._client is not None:
            self._client.close()

    def _opened(self) -> Client:
        if self._client is None or not self._connected:
            client = self._connect()
            with self._changed:
                self._client, self._connected = client, True
                self._changed.notify_all()
        assert self._client is not None
        return self._client

    def _next(self, client: Client) -> Shape | None:
        """What is furthest below its level, those that somebody waits for first; waits a while."""
        with self._changed:
            if self._ending:
                return None
            # Whoever waits for a length that the model has not is told so by `take`.
            lengths = client.side.lengths
            waiting = {s: n for s, n in self._waiting.items() if s.length in lengths}
            ready = {shape: client.ready(shape) for shape in {*self._levels, *waiting}}
            for shape, level in self._levels.items():
                self._tell(shape, Level(ready[shape], level))
            missing = [s for s, count in waiting.items() if count > ready[s]]
            if missing:
                return max(missing, key=lambda s: waiting[s] - ready[s])
            below = [s for s, level in self._levels.items() if ready[s] < level]
            if below:
                return min(below, key=lambda s: ready[s] / self._levels[s])
            self._recovered()
            self._changed.wait(LOOK_S)
            return None

    def _make(self, client: Client, shape: Shape) -> None:
        with self._changed:
            self._making = shape
        try:
            seconds = client.prepare(shape)
        finally:
            with self._changed:
                self._making = None
        with self._changed:
            self._made_s = seconds
            self._recovered()
            self._changed.notify_all()

    def _recovered(self) -> None:
        if self._failing:
            log.info("stocks are made again")
        self._failing, self._pause_s = "", FIRST_PAUSE_S

    def _failed(self, error: VeilformError) -> None:
        """Ends the connection, tells once, and waits before the next try."""
        with self._changed:
            if self._ending:
                return
            if not self._failing:
                log.warning("no stocks can be made: %s; it is tried again", error)
            self._failing, self._connected = str(error), False
            client, until = self._client, time.monotonic() + self._pause_s
            self._changed.notify_all()
        if client is not None:
            client.close()
        with self._changed:
            self._changed.wait_for(lambda: self._ending, max(0.0, until - time.monotonic()))
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def _ready(self, shape: Shape) -> int:
        """A closed client still knows its store."""
        try:
            return self._client.ready(shape) if self._client is not None else 0
        except (StockError, InputError):
            return 0

    def _retry_s(self) -> float:
        return self._pause_s if self._failing else self._made_s

    def _low(self) -> StockLow:
        why = f": {self._failing}" if self._failing else "; they are made as fast as the dealer can"
        return StockLow(f"no stock is ready{why}", self._retry_s())
