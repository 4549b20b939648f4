"""Division by 2^t into a smaller ring: each party shifts its own share, and nothing is sent.

For x = u + r mod 2^k, as integers u + r = x + c 2^k. Floors of both parts lose at most one carry
out of the low t bits, and the wrap c 2^k becomes c 2^(k-t), which is 0 in a ring of k - t bits. So

    (u >> t) + (r >> t)  =  x >> t,  or one less,   mod 2^(k-t).

The server adds one unit, which makes it x >> t or one more: the mean error against x / 2^t is then
below 2^-t of a unit. (SIRNN, S&P 2021, calls it truncate-and-reduce, and pays for the carry too.)
A truncation within one ring costs messages; a value that starts in a ring wider by t bits needs
none.
"""

from __future__ import annotations

from typing import overload

from veilform.masks import Drop
from veilform.protocol.party import Party
from veilform.values import Additive, Preshared


@overload
def drop(me: Party, x: Additive, shift: int, bits: int | None = None) -> Additive: ...
@overload
def drop(me: Party, x: Preshared, shift: int, bits: int | None = None) -> Preshared: ...
def drop(
    me: Party, x: Additive | Preshared, shift: int, bits: int | None = None
) -> Additive | Preshared:
    """x >> shift or one more, in the ring of ``bits`` bits; by default x.bits - shift.

    Raises:
        ValueError: the ring has more than x.bits - shift bits, or nothing is to be dropped.
    """
    if shift < 1:
        raise ValueError("no bit is to be dropped; a smaller ring is reached by narrowed()")
    view, left = Drop(x.bits, shift), x.bits - shift
    share = me.mix(x.share, bits=x.bits, right=shift, then=int(me.lead))
    out = (
        Preshared(share, x.mask.through(view), left)
        if isinstance(x, Preshared)
        else Additive(share, left)
    )
    return out if bits is None else out.narrowed(bits)


def rounded(me: Party, x: Additive, shift: int, bits: int | None = None) -> Additive:
    """x / 2^shift, rounded down or up such that the mean error is 0; :func:`drop` of x - 1.

    For v = x - 1 the result is v >> shift, or one more, with mean (v + 1) / 2^shift. A multiple of
    2^shift is never rounded: then v ends in ones, and the low parts of its shares, which add up to
    2^shift - 1, cannot carry. So what is 0 stays 0.

    Raises:
        ValueError: as :func:`drop`.
    """
    share = me.mix(x.share, plus=-int(me.lead))
    return drop(me, Additive(share, x.bits), shift, bits)
