"""A function of one variable on small vectors: a piecewise linear table, read by point functions.

x is opened under a mask rho_x, and the bits of x that choose a cell are opened under a mask rho_i.
The dealer's point function is 1 at rho_i, and rho_x in its second component; so the parties get
shares of the cell's intercept A and slope B, and of B rho_x, by one local sum over the table, and

    A + B x = A + B (x + rho_x) - B rho_x

follows without another message. A second, coarse look-up on the bits above sees whether x left the
table altogether; a column of the first one sees whether it left the calibrated range. Their sum is
a count of values out of range, shared, which :func:`reveal_flag` shows to the client as one bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from veilform.correlation import specs
from veilform.protocol.cost import Cost, declares
from veilform.protocol.effects import Protocol, Take, together
from veilform.protocol.opening import Index, open_index, open_value
from veilform.protocol.party import Party
from veilform.protocol.share import reveal
from veilform.protocol.tables import Table
from veilform.ring import Words
from veilform.values import Additive, Array, Opened


def _select_cost(me: Party, index: Index, table: Words, payload: Opened | None = None) -> Cost:
    count = int(np.prod(index.y.shape, dtype=np.int64))
    keys = count * (index.bits * 17 + 16)
    return Cost(dealt_client=keys, dealt_server=keys)


@declares(_select_cost)
def select(
    me: Party, index: Index, table: Words, payload: Opened | None = None
) -> Protocol[tuple[Array, Array | None]]:
    """Shares of table[i] and of table[i] rho, where rho is the payload's mask.

    Args:
        table: (2^bits, T), public.

    Returns:
        Two arrays, index shape + (T,); the second None without a payload.
    """
    shape = index.y.shape
    count = int(np.prod(shape, dtype=np.int64))
    mask = None if payload is None else payload.ref
    taken = yield Take(specs.Lookup(me.fresh("lookup"), count, index.bits, index.mask, mask))
    out = me.ring.reduce(me.lookup(taken, index.bits, index.y.reshape(-1), table))
    out = out.reshape(*shape, table.shape[1], 2)
    return out[..., 0], None if payload is None else out[..., 1]


class Interpolated(NamedTuple):
    """f(x), and the count of elements out of range, both shared."""

    value: Additive
    outside: Additive
    checks: int


def interpolate(me: Party, x: Additive, table: Table) -> Protocol[Interpolated]:
    """f(x) elementwise by the table; |multiplier x| must be below the table's bound."""
    scaled = Additive(me.ring.reduce(x.share * np.uint64(table.multiplier)))
    opened, low, high = yield from together(
        open_value(me, scaled),
        open_index(me, scaled, table.low, table.bits),
        open_index(me, scaled, table.high_low, table.high_bits),
    )
    (cell, crossed), (above, _) = yield from together(
        select(me, low, table.columns, opened), select(me, high, table.high_column)
    )
    value = cell[..., 0] + cell[..., 1] * opened.y - crossed[..., 1]
    outside = (cell[..., 2] + above[..., 0]).reshape(1, -1).sum(-1)
    checks = 2 * int(np.prod(x.shape, dtype=np.int64))
    return Interpolated(Additive(me.ring.reduce(value)), Additive(outside), checks)


def reveal_flag(me: Party, looked_up: Sequence[Interpolated]) -> Protocol[Array | None]:
    """The client learns whether any value was out of range: a look-up maps the count to a bit.

    Returns at the client an array that holds 0 or 1; None at the server.
    """
    total = looked_up[0].outside.share
    for one in looked_up[1:]:
        total = total + one.outside.share
    bits = sum(one.checks for one in looked_up).bit_length()
    index = yield from open_index(me, Additive(total), 0, bits)
    nonzero = np.ones((1 << bits, 1), np.uint64)
    nonzero[0] = 0
    flag, _ = yield from select(me, index, nonzero)
    return (yield from reveal(me, Additive(flag[..., 0])))
