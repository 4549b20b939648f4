"""What the parties say besides protocol messages and bulk data. All fields are bounded."""

from __future__ import annotations

from typing import Annotated

import msgspec

from veilform.correlation.store import StockId
from veilform.transport.control import Control

PROTOCOL = 4
"""Version of everything that crosses a channel: control messages, protocols, frames."""
MOST_MANIFEST_BYTES = 16 << 20
MOST_WEIGHT_BYTES = 8 << 30
MOST_DEALT_BYTES = 8 << 30
"""The largest stock, dealt part or corrections, of one run."""

MOST_PATIENCE_MS = 3_600_000
MOST_HELD, MOST_HELD_RECORDS = 4096, 16
"""Ids in a record of a list, and records of a list."""

Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
WeightsId = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
Seed = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]
Name = Annotated[str, msgspec.Meta(max_length=128)]
Axes = Annotated[
    tuple[Annotated[int, msgspec.Meta(ge=1, le=1 << 31)], ...],
    msgspec.Meta(min_length=1, max_length=3),
]


class Hello(Control, frozen=True):
    """Client to server, first: which protocol, which model by its digest, whose stocks."""

    protocol: int
    model: Digest
    store: StockId


class Welcome(Control, frozen=True):
    """Server to client: the masked weights' id, the seed of their common part P, whose stocks."""

    protocol: int
    weights: WeightsId
    seed: Seed
    store: StockId


class Held(Control, frozen=True):
    """Client to server, then server to client: the stocks of one for the other that it has.

    In as many records as it takes, up to the last.
    """

    stocks: Annotated[tuple[StockId, ...], msgspec.Meta(max_length=MOST_HELD)]
    last: bool


class Offer(Control, frozen=True):
    """Client to server: a stock that the dealer made. Corrections follow as bulk."""

    stock: StockId
    manifest: Digest
    batch: Count
    length: Count


class Stored(Control, frozen=True):
    """Server to client: it holds its part of the stock now."""

    stock: StockId


class Begin(Control, frozen=True):
    """Client to server: run with this stock. All that binds the run is said again and compared.

    The server may let it wait for a turn as long as the patience lasts.
    """

    protocol: int
    model: Digest
    manifest: Digest
    stock: StockId
    patience_ms: Annotated[int, msgspec.Meta(ge=0, le=MOST_PATIENCE_MS)]


class Busy(Control, frozen=True):
    """Server to client, instead of Begun: there is no turn. The stock stays as it was."""

    stock: StockId
    reason: Annotated[str, msgspec.Meta(max_length=1024)]


class Begun(Control, frozen=True):
    """Server to client: its stock is marked used; the run's messages follow."""

    stock: StockId


class Register(Control, frozen=True):
    """Server to dealer: the masked weights s follow in order, each as bulk."""

    protocol: int
    weights: WeightsId
    shapes: Annotated[dict[Name, Axes], msgspec.Meta(max_length=100_000)]


class Registered(Control, frozen=True):
    """Dealer to server."""

    weights: WeightsId


class Probe(Control, frozen=True):
    """Server to dealer, when a client comes: does it still hold these masked weights?"""

    protocol: int
    weights: WeightsId


class Probed(Control, frozen=True):
    """Dealer to server."""

    known: bool


class Order(Control, frozen=True):
    """Client to dealer: deal this manifest."""

    protocol: int
    manifest: bytes


class Collect(Control, frozen=True):
    """Server to dealer: its part of a stock, which must be of this manifest."""

    protocol: int
    stock: StockId
    manifest: Digest


class Dealt(Control, frozen=True):
    """Dealer to either: the party's seed. Its dealt bytes follow in segments, as they are made."""

    stock: StockId
    seed: Seed


class Segment(Control, frozen=True):
    """Dealer to either: so many of the dealt bytes follow as one bulk transfer."""

    size: Annotated[int, msgspec.Meta(ge=1, le=MOST_DEALT_BYTES)]


class Refused(Control, frozen=True):
    """Dealer to server, instead of a stock or the rest of one.

    The connection goes on: a client may be to blame.
    """

    stock: StockId
    reason: Annotated[str, msgspec.Meta(max_length=1024)]
