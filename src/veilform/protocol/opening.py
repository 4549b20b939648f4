"""Opening a value under a mask, lifted to a larger ring if wanted; opening bits as an index."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from veilform.correlation import specs
from veilform.masks import MaskRef
from veilform.protocol.cost import Cost, dealt, declares, sent
from veilform.protocol.effects import BOTH, Protocol, Take, Transfer
from veilform.protocol.party import Party
from veilform.ring import WORD, offset, reduce
from veilform.roles import CLIENT, SERVER
from veilform.values import Additive, Array, Opened, Preshared


def _open_cost(me: Party, x: Additive | Preshared, bits: int | None = None) -> Cost:
    size, parts = sent(x.shape, x.bits), 0
    if bits is not None and bits > x.bits:
        parts = dealt(x.shape, bits) + dealt(x.shape, bits - x.bits)
    return Cost(up=size if isinstance(x, Additive) else 0, down=size, dealt_server=parts)


@declares(_open_cost)
def open_value(me: Party, x: Additive | Preshared, bits: int | None = None) -> Protocol[Opened]:
    """Both learn y = x + rho mod 2^x.bits; for more ``bits`` than x has, x is lifted to them.

    A value of k bits that is lifted must satisfy |x| < 2^(k-2), and y = x + 2^(k-2) + rho.
    rho is uniform and known to the dealer alone: the sum of a mask of each party, or, for a
    preshared value, the server's mask minus the client's share. That costs nothing upwards.
    What each sees: one uniform array.
    """
    name, width = me.fresh("open"), x.bits
    bits = width if bits is None else bits
    if bits < width:
        raise ValueError(f"a value of {width} bits is not lifted to {bits}; narrow it instead")
    lifts = bits > width
    preshared = isinstance(x, Preshared)
    senders = (SERVER,) if preshared else BOTH
    source = x.mask if isinstance(x, Preshared) else None
    taken = yield Take(specs.Open(name, x.shape, width, bits, senders, source))
    shift = WORD - width if lifts else 0
    if preshared and me.role is CLIENT:
        theirs = yield Transfer(x.shape, width, senders)
        y = me.mix(theirs, left=shift) if lifts else theirs
        rho = None if lifts else me.mix(x.share, negate_a=True)
    else:
        rho = taken["rho"]
        mine = me.mix(x.share, rho, plus=int(offset(width)) if lifts and me.lead else 0, bits=width)
        theirs = yield Transfer(x.shape, width, senders, mine)
        y = mine
        if lifts or not preshared:
            y = me.mix(mine, None if preshared else theirs, bits=width, left=shift)
    if not lifts:
        return Opened(name, y, 0, rho, None, width)
    return Opened(name, y, shift, taken["q"], taken["h"], bits)


def raised(me: Party, x: Additive | Preshared, bits: int) -> Protocol[Additive]:
    """x in a ring of ``bits`` bits, additive; by an opening if that is the larger one.

    x of k bits must then satisfy |x| < 2^(k-2).
    """
    if bits <= x.bits:
        return Additive(x.share, x.bits).narrowed(bits)
    opened = yield from open_value(me, x, bits)
    return Additive(me.opened_share(opened), bits)


class Index(NamedTuple):
    """An opened index: y = i + rho mod 2^bits, public; ``mask`` names rho."""

    y: Array
    bits: int
    mask: MaskRef


def _open_index_cost(me: Party, x: Additive, low: int, bits: int) -> Cost:
    size = sent(x.shape, bits)
    return Cost(up=size, down=size)


@declares(_open_index_cost)
def open_index(me: Party, x: Additive, low: int, bits: int) -> Protocol[Index]:
    """Opens i = floor(x / 2^low) mod 2^bits under a mask, or that minus 1; exact for low = 0.

    The shares are shifted to the top of the word, where what overflows falls off, and then down:
    only the carry out of the dropped low bits is lost, hence the 1.

    Raises:
        ValueError: x has fewer bits than low + bits.
    """
    if low + bits > x.bits:
        raise ValueError(f"bits {low} to {low + bits} of a value that has {x.bits}")
    name = me.fresh("index")
    taken = yield Take(specs.Open(name, x.shape, bits, bits, BOTH))
    top = x.share << np.uint64(WORD - low - bits)
    mine = (top >> np.uint64(WORD - bits)) + taken["rho"]
    theirs = yield Transfer(x.shape, bits, BOTH, mine)
    return Index(reduce(mine + theirs, bits), bits, MaskRef(name))
