"""What a pool runs on: sessions that are opened when they are needed, and stocks for them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any
from typing import Protocol as Interface

import numpy as np
import numpy.typing as npt

from veilform.drive.network import Follow
from veilform.errors import (
    ConnectionFailed,
    DeadlineExceeded,
    InputError,
    Overloaded,
    StockLow,
    VeilformError,
)
from veilform.models.sides import Batch, Shape
from veilform.serve.client import InferenceCost

log = logging.getLogger("veilform")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0

Result = tuple[npt.NDArray[np.float64], InferenceCost]
"""Outputs (inputs, L) and what they cost."""


class Session(Interface):
    """What runs a batch: a connection to server and dealer."""

    def infer(self, batch: Batch, stock: Any, patience_s: float, follow: Follow) -> Result:
        """Outputs (inputs, L) and what they cost, with a stock that `Supply.take` gave.

        The stock is the session's from now on: used, burnt, or given back where it came from.
        """

    def close(self) -> None:
        """Ends the connection. May be called again."""


class Supply(Interface):
    """Where stocks come from."""

    def take(self, shape: Shape, deadline: float) -> Any:
        """A stock for a run of this shape; StockLow if there will be none by the deadline."""

    def release(self, stock: Any) -> None:
        """Takes back one that no session was given."""


class OnDemand:
    """Stocks that a session has dealt when it runs."""

    def take(self, shape: Shape, deadline: float) -> None:
        """Nothing to hand over."""

    def release(self, stock: None) -> None:
        """Nothing to take back."""


def late() -> DeadlineExceeded:
    """For who waited until the deadline."""
    return DeadlineExceeded("there was no answer before the request's deadline; try again later")


class Held:
    """A worker's session, opened when it is not there.

    Args:
        count: told 1 when one was opened, and -1 when it was closed.
    """

    def __init__(self, connect: Callable[[], Session], count: Callable[[int], None]) -> None:
        self._connect, self._count = connect, count
        self._session: Session | None = None
        self._pause_s = FIRST_PAUSE_S
        self._told = False

    @property
    def pause_s(self) -> float | None:
        """How long to wait for work before the next try to connect; None when connected."""
        return None if self._session is not None else self._pause_s

    def connect(self) -> None:
        """Connects if it is not; a failure is told once, and the pause gets longer."""
        try:
            self._open()
        except Exception as error:
            self.drop()
            if not self._told:
                # The text of an unexpected one may hold anything.
                why = error if isinstance(error, VeilformError) else type(error).__name__
                log.warning("no connection: %s; it is tried again", why)
            self._told = True
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def infer(self, batch: Batch, supply: Supply, deadline: float, follow: Follow) -> Result:
        """Runs a batch; once more on a new connection if the one that was there is gone.

        That is safe: each try uses a stock of its own.
        """
        fresh = self._session is None
        try:
            return self._infer(batch, supply, deadline, follow)
        except ConnectionFailed:
            if fresh:
                raise
            return self._infer(batch, supply, deadline, follow)

    def _infer(self, batch: Batch, supply: Supply, deadline: float, follow: Follow) -> Result:
        session = self._open()
        stock = supply.take(batch.shape, deadline)
        left = deadline - time.monotonic()
        if left <= 0:
            supply.release(stock)
            raise late()
        try:
            return session.infer(batch, stock, left, follow)
        except (InputError, Overloaded, StockLow):
            raise
        except BaseException:
            self.drop()
            raise

    def _open(self) -> Session:
        if self._session is None:
            self._session = self._connect()
            self._count(1)
            self._pause_s, self._told = FIRST_PAUSE_S, False
        return self._session

    def drop(self) -> None:
        """Closes it, if it is there."""
        if self._session is not None:
            session, self._session = self._session, None
            self._count(-1)
            session.close()
