"""Division by 2^t of a preshared value, never off by 2^(64-t) as local truncation may be.

The server holds u = x - r, the client r. With u' = u + 2^(k-2), u' + r = x + 2^(k-2) < 2^(k-1) as
integers modulo 2^k, so the carry is c = a OR b = a + b - a b with a = msb(u'), b = msb(r), and

    (u' >> t) + (r >> t) - c 2^(k-t) - 2^(k-2-t)

is x >> t or one less, for the carry out of the low bits is lost. One unit is added, which makes it
x >> t or one more: the mean error against x / 2^t is then 0.

The dealer knows b. It gives the server a random bit m, and m b shared modulo 2^t. The server sends
e = a XOR m; then a b = e b + (1 - 2e) m b is linear in what both hold. The client's share of the
result is made a mask that was fixed beforehand, r' = (r >> t) + 2^(k-t) kappa, so that the result
is preshared again: for that the client sends its share of c plus kappa, modulo 2^t.
What each sees: the client one uniform bit, the server t uniform bits, an element.
"""

from __future__ import annotations

import numpy as np

from veilform.correlation import specs
from veilform.masks import MaskRef, truncated_mask
from veilform.protocol.cost import Cost, dealt, declares, sent
from veilform.protocol.effects import Protocol, Take, Transfer
from veilform.protocol.party import Party
from veilform.roles import CLIENT, SERVER
from veilform.values import Preshared

ONE = np.uint64(1)


def _truncate_cost(me: Party, x: Preshared, shift: int) -> Cost:
    return Cost(
        up=sent(x.shape, shift),
        down=sent(x.shape, 1),
        dealt_server=dealt(x.shape, shift),
    )


@declares(_truncate_cost)
def truncate(me: Party, x: Preshared, shift: int) -> Protocol[Preshared]:
    """x >> shift or one more, preshared, for |x| < 2^(k-2). ``shift`` is at least 1."""
    ring, k, t = me.ring, me.ring.bits, np.uint64(shift)
    name = me.fresh("truncate")
    taken = yield Take(specs.Truncate(name, x.shape, x.mask, shift))
    if me.role is CLIENT:
        r = ring.reduce(x.share)
        kappa, b = taken["kappa"], ring.msb(r)
        e = yield Transfer(x.shape, 1, (SERVER,))
        reply = b - e * b - (ONE - (e << ONE)) * taken["share"] + kappa
        yield Transfer(x.shape, shift, (CLIENT,), reply & np.uint64((1 << shift) - 1))
        return Preshared(truncated_mask(r, kappa, shift, k), MaskRef(name))
    u = ring.reduce(x.share + ring.offset)
    a = ring.msb(u)
    e = a ^ taken["flip"]
    yield Transfer(x.shape, 1, (SERVER,), e)
    reply = yield Transfer(x.shape, shift, (CLIENT,))
    carry = a - (ONE - (e << ONE)) * taken["share"] + reply
    whole = (u >> t) - (ring.offset >> t) - (carry << np.uint64(k - shift)) + ONE
    return Preshared(ring.reduce(whole), MaskRef(name))
