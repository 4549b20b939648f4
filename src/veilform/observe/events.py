"""The events of a party, and who is told of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal, TypeAlias

import msgspec

from veilform.errors import (
    ConnectionFailed,
    DeadlineExceeded,
    Overloaded,
    ProtocolError,
    RangeError,
    StockError,
)

log = logging.getLogger("veilform")

Outcome: TypeAlias = Literal[
    "done", "busy", "late", "out_of_range", "no_stock", "lost", "refused", "failed"
]
_OUTCOMES: tuple[tuple[type[BaseException], Outcome], ...] = (
    (Overloaded, "busy"),
    (DeadlineExceeded, "late"),
    (RangeError, "out_of_range"),
    (StockError, "no_stock"),
    (ConnectionFailed, "lost"),
    (ProtocolError, "refused"),
)


class Event(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Base of all events.

    Attributes:
        party: "server", "client" or "dealer".
    """

    party: str


class Sized(Event, frozen=True):
    """An event of one stock or of the run that uses it.

    Attributes:
        model: the first 12 digits of the model's digest.
        batch, bucket: texts, and the tokens that each is padded to.
        stock: its id, 32 hexadecimal digits, the same on both sides; names the trace.
        outcome: how it ended.
        seconds: from beginning to end.
        sent_bytes, received_bytes: as counted on the channel, headers included.
    """

    model: str
    batch: int
    bucket: int
    stock: str
    outcome: Outcome
    seconds: float
    sent_bytes: int = 0
    received_bytes: int = 0


class Run(Sized, frozen=True):
    """An inference ended.

    Attributes:
        waited_seconds: for a turn, before ``seconds``.
        messages: data frames in both directions.
    """

    waited_seconds: float = 0.0
    messages: int = 0


class Stocked(Sized, frozen=True):
    """A stock came in, or did not."""


class Dealt(Event, frozen=True):
    """The dealer dealt a stock, or did not. It is told no model by name, and no length."""

    stock: str
    outcome: Outcome
    seconds: float
    dealt_bytes: int


class Connected(Event, frozen=True):
    """How many parties of a role are connected now."""

    role: str
    count: int


class Waiting(Event, frozen=True):
    """How many runs wait for a turn now."""

    count: int


class Queued(Event, frozen=True):
    """How a gateway's queue for one model is now: texts that wait and run, and its sessions."""

    model: str
    waiting: int
    running: int
    sessions: int


class Kept(Event, frozen=True):
    """How many stocks of one shape are ready now, and how many are to be."""

    model: str
    batch: int
    bucket: int
    ready: int
    wanted: int


class Refused(Event, frozen=True):
    """A connection was refused, for an error of this class."""

    why: str


def short(digest: str) -> str:
    """A model's digest, as an event names it."""
    return digest[:12]


Observer: TypeAlias = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The observer of a party that tells nobody."""


def everyone(*observers: Observer) -> Observer:
    """Tells each of them. One that fails keeps neither the others nor the party from their work."""

    def tell(event: Event) -> None:
        for observer in observers:
            try:
                observer(event)
            except Exception as error:
                log.warning("an observer failed: %s", type(error).__name__)

    return tell


def outcome_of(error: BaseException | None) -> Outcome:
    """The outcome that an error stands for."""
    if error is None:
        return "done"
    return next((outcome for kind, outcome in _OUTCOMES if isinstance(error, kind)), "failed")
