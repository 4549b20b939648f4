"""Tells an observer how a piece of work ended: its seconds and what it moved on a channel."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from veilform.models.sides import Shape
from veilform.observe import Event, Observer, Run, Stocked, outcome_of, short
from veilform.roles import Role
from veilform.transport import Channel, Kind, Traffic


@dataclass(frozen=True)
class Named:
    """Whose work it is, and what it is done with."""

    party: Role
    model: str
    shape: Shape
    stock: str

    def fields(self) -> dict[str, str | int]:
        """As an event has them; of the model's digest only the beginning."""
        return {
            "party": self.party.value,
            "model": short(self.model),
            "batch": self.shape.batch,
            "bucket": self.shape.length,
            "stock": self.stock,
        }


class Watch:
    """The time of a run, without what it waited for its turn."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.waited_seconds = 0.0

    def begins(self) -> None:
        """The waiting is over."""
        now = time.perf_counter()
        self.waited_seconds, self.start = now - self.start, now


@contextlib.contextmanager
def run(tell: Observer, named: Named, channel: Channel) -> Iterator[Watch]:
    """A run, told of as `Run` however it ends."""
    watch = Watch()

    def event(common: dict[str, Any], moved: Traffic) -> Run:
        messages = moved.sent[Kind.DATA].frames + moved.received[Kind.DATA].frames
        return Run(**common, waited_seconds=watch.waited_seconds, messages=messages)

    with _telling(tell, named, channel, watch, event):
        yield watch


@contextlib.contextmanager
def stocking(tell: Observer, named: Named, channel: Channel) -> Iterator[None]:
    """The coming of a stock, told of as `Stocked` however it ends."""
    with _telling(tell, named, channel, Watch(), lambda common, moved: Stocked(**common)):
        yield


@contextlib.contextmanager
def _telling(
    tell: Observer,
    named: Named,
    channel: Channel,
    watch: Watch,
    event: Callable[[dict[str, Any], Traffic], Event],
) -> Iterator[None]:
    before, error = channel.counters.snapshot(), None
    try:
        yield
    except BaseException as raised:
        error = raised
        raise
    finally:
        moved = channel.counters.snapshot() - before
        common = {
            **named.fields(),
            "outcome": outcome_of(error),
            "seconds": time.perf_counter() - watch.start,
            "sent_bytes": moved.sent.total.wire_bytes,
            "received_bytes": moved.received.total.wire_bytes,
        }
        tell(event(common, moved))
