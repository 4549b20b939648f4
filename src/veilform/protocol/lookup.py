"""A function of one variable on small vectors: a piecewise linear table, read by point functions.

x is opened under a mask rho_x, and the bits of x that choose a cell are opened under a mask rho_i.
The dealer's point function is 1 at rho_i, and rho_x in its second component; so the parties get
shares of the segment's intercept A and slope B, and of B rho_x, by one local sum, and

    A + B x = A + B (x + rho_x) - B rho_x

follows without another message. The same sum tells whether x lies outside the calibrated range. The
number of such values in a run is shared; with any of them, :func:`reveal_checked` hides the answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from veilform.correlation import specs
from veilform.errors import InputError
from veilform.masks import MaskRef
from veilform.protocol.cost import Cost, declares
from veilform.protocol.effects import Protocol, Take, together
from veilform.protocol.opening import Index, open_index, open_value
from veilform.protocol.party import Party
from veilform.protocol.share import reveal
from veilform.protocol.tables import Table
from veilform.ring import WORD, Words
from veilform.roles import SERVER
from veilform.values import Additive, Array, Preshared


def _select_cost(me: Party, index: Index, table: Words, payload: MaskRef | None = None) -> Cost:
    count = int(np.prod(index.y.shape, dtype=np.int64))
    keys = count * (index.bits * 17 + 16)
    return Cost(dealt_client=keys, dealt_server=keys)


@declares(_select_cost)
def select(
    me: Party, index: Index, table: Words, payload: MaskRef | None = None
) -> Protocol[tuple[Array, Array | None]]:
    """Shares of table[i] and of table[i] rho, where ``payload`` names rho.

    Args:
        table: (2^bits, T), public.

    Returns:
        Two arrays, index shape + (T,); the second None without a payload.
    """
    shape = index.y.shape
    count = int(np.prod(shape, dtype=np.int64))
    taken = yield Take(specs.Lookup(me.fresh("lookup"), count, index.bits, index.mask, payload))
    out = me.lookup(taken, index.bits, index.y.reshape(-1), table)
    out = out.reshape(*shape, table.shape[1], 2)
    return out[..., 0], None if payload is None else out[..., 1]


MOST_CHECK_BITS = 20
"""The look-up of a run's count of values out of range has a cell for each that may be."""


class Checked(NamedTuple):
    """The count of elements out of range, shared in a ring of MOST_CHECK_BITS bits or more."""

    outside: Additive
    checks: int


def _line_cost(me: Party, index: Index, table: Table, payload: MaskRef) -> Cost:
    keys = math.prod(index.y.shape) * index.bits * (17 + 16)
    return Cost(dealt_client=keys, dealt_server=keys)


@declares(_line_cost)
def line(me: Party, index: Index, table: Table, payload: MaskRef) -> Protocol[Array]:
    """Shares (count, 4) of the line A + B x for each index: A, B, B rho, and 1 if it is outside.

    Args:
        payload: names rho.
    """
    count, bits = math.prod(index.y.shape), index.bits
    spec = specs.Lookup(me.fresh("lookup"), count, bits, index.mask, payload, bits)
    taken = yield Take(spec)
    return me.line(taken, bits, index.y.reshape(-1), table)


def interpolate(me: Party, x: Additive, table: Table) -> Protocol[tuple[Additive, Checked]]:
    """f(x) elementwise by a table for x's ring, where the result lives too."""
    opened, index = yield from together(open_value(me, x), open_index(me, x, table.low, table.bits))
    found = yield from line(me, index, table, opened.ref)
    y = opened.y.reshape(-1)
    value = (found[:, 0] + found[:, 1] * y - found[:, 2]).reshape(*x.shape)
    outside = found[:, 3].reshape(1, -1).sum(-1)
    checked = Checked(Additive(outside, WORD), math.prod(x.shape))
    return Additive(value, x.bits), checked


def reveal_checked(
    me: Party, x: Additive | Preshared, checked: Sequence[Checked]
) -> Protocol[tuple[Array | None, Array | None]]:
    """The client learns x if no value was out of range, and otherwise that one was, and no more.

    A look-up maps the count of values out of range to a bit; its payload is a mask that the server
    knows. So x is revealed plus bit times mask.

    Returns:
        At the client x, or uniform noise, and an array of x's shape full of that bit; at the server
        None twice.

    Raises:
        InputError: the run has 2^20 checks or more.
    """
    total = checked[0].outside.share
    for one in checked[1:]:
        total = total + one.outside.share
    ring = min(one.outside.bits for one in checked)
    checks = sum(one.checks for one in checked)
    bits = checks.bit_length()
    if bits > MOST_CHECK_BITS:
        raise InputError(f"{checks} range checks in one run are too many; use a smaller batch")
    name = me.fresh("noise")
    yield Take(specs.Open(name, x.shape, x.bits, x.bits, (SERVER,)))
    # One key an element of x, as each has a mask of its own.
    index = yield from open_index(me, Additive(me.repeat(total, x.shape), ring), 0, bits)
    nonzero = np.ones((1 << bits, 1), np.uint64)
    nonzero[0] = 0
    flag, noise = yield from select(me, index, nonzero, MaskRef(name))
    assert noise is not None
    shown = Additive(x.share + noise[..., 0], x.bits)
    both = yield from together(reveal(me, shown), reveal(me, Additive(flag[..., 0], x.bits)))
    return both[0], both[1]
