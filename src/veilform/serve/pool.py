"""Many requests over a few sessions: one bounded queue, deadlines, inputs batched as they wait.

A request that nobody waits for any more is dropped while it waits. A run that began is let run out:
its stock is used up either way, the session can be used again at once, and when a caller lost
interest is nothing that the server has to learn. A run's own waits are bounded by its channel.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from veilform.closing import Closing
from veilform.drive.network import Follow, Passed
from veilform.errors import InputError, Overloaded
from veilform.models.sides import Batch
from veilform.serve.client import InferenceCost
from veilform.serve.sessions import Held, OnDemand, Session, Supply, late

SESSIONS = 2
MOST_WAITING = 64


class Outcome(NamedTuple):
    """One input's.

    Attributes:
        output: (L,): logits, or a vector.
        cost: of the run that it was in.
        batch: inputs in that run.
        waited_s: before the run began.
    """

    output: npt.NDArray[np.float64]
    cost: InferenceCost
    batch: int
    waited_s: float


class State(NamedTuple):
    """How a pool is: sessions that are connected, of how many; inputs that wait and run."""

    connected: int
    sessions: int
    waiting: int
    running: int


@dataclass(eq=False)
class Ticket:
    """One input's place. Its future fails with errors of `Client.infer`, or as `submit` says."""

    encoded: Any = field(repr=False)
    length: int
    deadline: float
    follow: Follow | None = None
    since: float = field(default_factory=time.monotonic)
    future: Future[Outcome] = field(default_factory=Future)

    def result(self) -> Outcome:
        """Waits for it.

        Raises:
            DeadlineExceeded: it took too long. It was dropped, or its run is let run out.
        """
        try:
            return self.future.result(max(0.0, self.deadline - time.monotonic()))
        except FutureTimeoutError:
            self.future.cancel()
            raise late() from None


class Pool(Closing):
    """N sessions, each in a thread of its own, and the queue before them.

    Args:
        connect: opens a session; called again when one broke.
        pad: puts encoded inputs into one padded batch.
        sessions: how many runs there may be at once.
        most_waiting: inputs in the queue, at most.
        batches: the sizes that a run may have, in inputs. The server sees the size, and the range
            check has one answer for all of a run; so only one by default.
        supply: where stocks come from.
        tell: is told when any of it changed, by whichever thread changed it.
    """

    def __init__(
        self,
        connect: Callable[[], Session],
        pad: Callable[[Sequence[Any]], Batch],
        *,
        sessions: int = SESSIONS,
        most_waiting: int = MOST_WAITING,
        batches: Sequence[int] = (1,),
        supply: Supply | None = None,
        tell: Callable[[State], object] = lambda state: None,
    ) -> None:
        if 1 not in batches or sessions < 1 or most_waiting < 1:
            raise InputError("a pool has a session, room for an input, and batches of one")
        self._connect, self._pad, self._tell = connect, pad, tell
        self._supply = supply or OnDemand()
        self._batches = sorted(set(batches), reverse=True)
        self._most_waiting = most_waiting
        self._queue: deque[Ticket] = deque()
        self._changed = threading.Condition()
        self._ending = False
        self._running = self._connected = 0
        self._threads = [
            threading.Thread(target=self._serve, name=f"veilform-session-{n}", daemon=True)
            for n in range(sessions)
        ]
        for thread in self._threads:
            thread.start()

    def submit(
        self, inputs: Sequence[Any], deadline: float, follow: Follow | None = None
    ) -> list[Ticket]:
        """A place in the queue for each encoded input, or for none of them.

        Args:
            deadline: of `time.monotonic`.
            follow: told of every message of the runs that these are in.

        Raises:
            Overloaded: there is no room for all, or the pool is ending.
            InputError: one fits no length.
        """
        tickets = [Ticket(each, self.padded(each), deadline, follow) for each in inputs]
        with self._changed:
            if self._ending:
                raise Overloaded("the gateway is ending")
            self._forget_cancelled()
            if len(self._queue) + len(tickets) > self._most_waiting:
                raise Overloaded(
                    f"{len(self._queue)} inputs wait already, {self._most_waiting} may; "
                    "try again later"
                )
            self._queue.extend(tickets)
            self._changed.notify(len(tickets))
        self._tell(self.state)
        return tickets

    def padded(self, encoded: Any) -> int:
        """The length that an input is padded to; InputError if it fits none."""
        return self._pad([encoded]).shape.length

    @property
    def state(self) -> State:
        """How it is now."""
        with self._changed:
            self._forget_cancelled()
            return State(self._connected, len(self._threads), len(self._queue), self._running)

    def close(self, patience_s: float = 5.0) -> None:
        """Refuses what waits, and gives runs this long to end. May be called again."""
        with self._changed:
            self._ending = True
            refused = list(self._queue)
            self._queue.clear()
            self._changed.notify_all()
        for ticket in refused:
            if ticket.future.set_running_or_notify_cancel():
                ticket.future.set_exception(Overloaded("the gateway is ending"))
        deadline = time.monotonic() + patience_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _forget_cancelled(self) -> None:
        live = [ticket for ticket in self._queue if not ticket.future.cancelled()]
        if len(live) < len(self._queue):
            self._queue = deque(live)

    def _serve(self) -> None:
        """One session's thread: connects, and runs what waits."""
        held = Held(self._connect, self._count_connected)
        try:
            while True:
                if not self._queue and not self._ending:
                    held.connect()
                tickets = self._next(held.pause_s)
                if tickets is None:
                    return
                if tickets:
                    self._run(held, tickets)
        finally:
            held.drop()

    def _count_connected(self, more: int) -> None:
        with self._changed:
            self._connected += more
        self._tell(self.state)

    def _next(self, wait_s: float | None) -> list[Ticket] | None:
        """The inputs of the next run, in order; none after ``wait_s``; None at the end."""
        with self._changed:
            if not self._queue and not self._ending:
                self._changed.wait(wait_s)
            if self._ending:
                return None
            self._expire()
            if not self._queue:
                return []
            length = self._queue[0].length
            alike = [ticket for ticket in self._queue if ticket.length == length]
            size = next(size for size in self._batches if size <= len(alike))
            taken = alike[:size]
            self._queue = deque(ticket for ticket in self._queue if ticket not in taken)
            taken = [ticket for ticket in taken if ticket.future.set_running_or_notify_cancel()]
            self._running += len(taken)
            return taken

    def _expire(self) -> None:
        now = time.monotonic()
        self._forget_cancelled()
        for ticket in [ticket for ticket in self._queue if ticket.deadline <= now]:
            self._queue.remove(ticket)
            if ticket.future.set_running_or_notify_cancel():
                ticket.future.set_exception(late())

    def _run(self, held: Held, tickets: list[Ticket]) -> None:
        # One was cancelled in between: the others go one by one, in sizes that are allowed.
        self._tell(self.state)
        groups = [tickets] if len(tickets) in self._batches else [[one] for one in tickets]
        for group in groups:
            try:
                outcomes = self._outcomes(held, group)
                for ticket, outcome in zip(group, outcomes, strict=True):
                    ticket.future.set_result(outcome)
            except BaseException as error:
                for ticket in group:
                    ticket.future.set_exception(error)
            finally:
                with self._changed:
                    self._running -= len(group)
                self._tell(self.state)

    def _outcomes(self, held: Held, tickets: list[Ticket]) -> list[Outcome]:
        batch = self._pad([ticket.encoded for ticket in tickets])
        deadline = min(ticket.deadline for ticket in tickets)

        def follow(passed: Passed) -> None:
            for ticket in tickets:
                if ticket.follow is not None:
                    ticket.follow(passed)

        began = time.monotonic()
        outputs, cost = held.infer(batch, self._supply, deadline, follow)
        return [
            Outcome(output, cost, len(tickets), began - ticket.since)
            for ticket, output in zip(tickets, outputs, strict=True)
        ]
