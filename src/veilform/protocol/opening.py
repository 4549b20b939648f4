"""Opening a value under a mask, truncated if wanted; opening bits of it as a table's index."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from veilform.correlation import specs
from veilform.masks import MaskRef
from veilform.protocol.cost import Cost, dealt, declares, sent
from veilform.protocol.effects import BOTH, Protocol, Take, Transfer
from veilform.protocol.party import Party
from veilform.roles import CLIENT, SERVER
from veilform.values import Additive, Array, Opened, Preshared


def _open_cost(me: Party, x: Additive | Preshared, shift: int = 0) -> Cost:
    size = sent(x.shape, me.ring.bits)
    return Cost(
        up=size if isinstance(x, Additive) else 0,
        down=size,
        dealt_server=size + dealt(x.shape, shift) if shift else 0,
    )


@declares(_open_cost)
def open_value(me: Party, x: Additive | Preshared, shift: int = 0) -> Protocol[Opened]:
    """Both learn y = x + rho, or for a truncation y = x + 2^(k-2) + rho, where |x| < 2^(k-2).

    rho is uniform and known to the dealer alone: the sum of a mask of each party, or, for a
    preshared value, the server's mask minus the client's share. That costs nothing upwards.
    What each sees: one uniform array.
    """
    ring, name = me.ring, me.fresh("open")
    preshared = isinstance(x, Preshared)
    senders = (SERVER,) if preshared else BOTH
    source = x.mask if isinstance(x, Preshared) else None
    taken = yield Take(specs.Open(name, x.shape, ring.bits, shift, senders, source))
    if preshared and me.role is CLIENT:
        y = yield Transfer(x.shape, ring.bits, senders)
        q = ring.reduce(np.uint64(0) - x.share)
    else:
        mine = x.share + taken["rho"]
        if shift and me.lead:
            mine = mine + ring.offset
        mine = ring.reduce(mine)
        theirs = yield Transfer(x.shape, ring.bits, senders, mine)
        y = mine if preshared else ring.reduce(mine + theirs)
        q = taken["rho"]
    if not shift:
        return Opened(name, y, 0, q, None)
    return Opened(name, y, shift, taken["q"], taken["h"])


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

    The shares are shifted to the top of the ring, where what overflows falls off, and then down:
    only the carry out of the dropped low bits is lost, hence the 1.
    """
    ring, k, name = me.ring, me.ring.bits, me.fresh("index")
    taken = yield Take(specs.Open(name, x.shape, bits, 0, BOTH))
    top = ring.reduce(x.share << np.uint64(k - low - bits))
    modulus = np.uint64((1 << bits) - 1)
    mine = ((top >> np.uint64(k - bits)) + taken["rho"]) & modulus
    theirs = yield Transfer(x.shape, bits, BOTH, mine)
    return Index((mine + theirs) & modulus, bits, MaskRef(name))
