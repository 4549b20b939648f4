"""Tells an observer how a piece of work ended: its seconds and what it moved on a channel."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

from veilform.models.bert.sides import Shape
from veilform.observe import Observer, Run, Stocked, outcome_of
from veilform.roles import Role
from veilform.transport import Channel, Kind


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
            "model": self.model[:12],
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
    before, watch, error = channel.counters.snapshot(), Watch(), None
    try:
        yield watch
    except BaseException as raised:
        error = raised
        raise
    finally:
        moved = channel.counters.snapshot() - before
        tell(
            Run(
                **named.fields(),  # type: ignore[arg-type]
                outcome=outcome_of(error),
                seconds=time.perf_counter() - watch.start,
                sent_bytes=moved.sent.total.wire_bytes,
                received_bytes=moved.received.total.wire_bytes,
                waited_seconds=watch.waited_seconds,
                messages=moved.sent[Kind.DATA].frames + moved.received[Kind.DATA].frames,
            )
        )


@contextlib.contextmanager
def stocking(tell: Observer, named: Named, channel: Channel) -> Iterator[None]:
    """The coming of a stock, told of as `Stocked` however it ends."""
    before, start, error = channel.counters.snapshot(), time.perf_counter(), None
    try:
        yield
    except BaseException as raised:
        error = raised
        raise
    finally:
        moved = channel.counters.snapshot() - before
        tell(
            Stocked(
                **named.fields(),  # type: ignore[arg-type]
                outcome=outcome_of(error),
                seconds=time.perf_counter() - start,
                sent_bytes=moved.sent.total.wire_bytes,
                received_bytes=moved.received.total.wire_bytes,
            )
        )
