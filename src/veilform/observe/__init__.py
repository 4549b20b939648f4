"""What a running party tells its operator: numbers of bounded kinds, and never content.

An event (`events`) has fields for sizes and times as both sides know them by design: length
buckets, batch sizes, bytes, seconds. There is no field that could hold a text, a true length, a
value or a seed. Parties tell events to an `Observer`; metrics, traces and logs are observers.
"""

from veilform.observe.events import (
    Connected,
    Dealt,
    Event,
    Kept,
    Observer,
    Outcome,
    Queued,
    Refused,
    Run,
    Stocked,
    Waiting,
    everyone,
    ignore,
    outcome_of,
    short,
)

__all__ = [
    "Connected",
    "Dealt",
    "Event",
    "Kept",
    "Observer",
    "Outcome",
    "Queued",
    "Refused",
    "Run",
    "Stocked",
    "Waiting",
    "everyone",
    "ignore",
    "outcome_of",
    "short",
]
