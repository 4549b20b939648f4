"""Comparison of opened values with public thresholds: one bit each way, and what is made of it.

For x opened as y = x + rho mod 2^w, the sign of x - t follows from the subtraction of rho:

    msb(x - t)  =  msb(y - t) xor msb(rho) xor [low(y - t) < low(rho)],

low being all bits but the msb. The last term is a distributed comparison function: keys that hide
rho and give shares of the bit. Each party masks its share by a random bit and sends it. So the bit
c is known as e xor m, with e public and m known to the dealer alone, as an opened value is.
Products with it then cost no message.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from veilform.correlation import specs
from veilform.kernels import compare_levels
from veilform.masks import MaskRef
from veilform.protocol.cost import Cost, dealt, declares, sent
from veilform.protocol.effects import BOTH, Gather, Protocol, Take, Transfer, together
from veilform.protocol.lookup import MOST_CHECK_BITS, Checked
from veilform.protocol.opening import open_value
from veilform.protocol.party import Party
from veilform.ring import constant, msb, offset, reduce
from veilform.values import Additive, Array, Bits, Opened, Preshared


def _key_bytes(count: int, bits: int) -> int:
    levels = compare_levels(bits)
    return count * (16 * (levels + 1) + (levels + 7) // 8)


def _below(me: Party, x: Opened, bits: int, points: Sequence[Array]) -> Protocol[list[Array]]:
    """Shares by exclusive or of [point < the low ``bits`` bits of x's mask]."""
    count = math.prod(x.shape)
    taken = yield Take(specs.Compare(me.fresh("compare"), count, bits, x.ref))
    return me.below(taken, bits, points)


def _less(me: Party, x: Opened, threshold: int, bits: int) -> Array:
    """The opening of x - threshold mod 2^bits under x's mask."""
    moved = threshold + (int(offset(x.width)) if x.shift else 0)
    return reduce(me.mix(x.y, right=x.shift, then=-moved), bits)


def _show(
    me: Party, shares: Sequence[Array], public: Sequence[Array], width: int, source: MaskRef | None
) -> Protocol[tuple[Bits, ...]]:
    """Bits (the parties' shares, and public ones) as e and a mask: each party flips its share."""
    names, masked = [], []
    for share in shares:
        names.append(me.fresh("bit"))
        taken = yield Take(specs.Bit(names[-1], share.shape, width, source))
        masked.append(share ^ taken["flip"])
    theirs = yield Gather(tuple(Transfer(one.shape, 1, BOTH, one) for one in masked))
    return tuple(
        Bits(name, ours ^ other ^ known)
        for name, ours, other, known in zip(names, masked, theirs, public, strict=True)
    )


def _at_least_cost(
    me: Party, x: Opened, thresholds: Sequence[int] = (0,), width: int | None = None
) -> Cost:
    keys = _key_bytes(math.prod(x.shape), (width or x.width) - 1)
    moved = len(thresholds) * sent(x.shape, 1)
    return Cost(up=moved, down=moved, dealt_client=keys, dealt_server=keys)


@declares(_at_least_cost)
def at_least(
    me: Party, x: Opened, thresholds: Sequence[int] = (0,), width: int | None = None
) -> Protocol[tuple[Bits, ...]]:
    """[x >= t] for each public threshold t, with one key for all of them.

    Args:
        width: bits that hold every x - t as a signed integer; by default, those of the ring x was
            opened in. Fewer make shorter keys.

    Raises:
        ValueError: no threshold, a width below 2, or one beyond the ring.
    """
    width = x.width if width is None else width
    if not thresholds or not 2 <= width <= x.width:
        raise ValueError(f"{len(thresholds)} thresholds by {width} bits, in a ring of {x.width}")
    less = [_less(me, x, threshold, width) for threshold in thresholds]
    low = width - 1
    shares = yield from _below(me, x, low, [reduce(each, low) for each in less])
    signs = [msb(each, width) ^ 1 for each in less]
    return (yield from _show(me, shares, signs, width, x.ref))


def _outside_cost(me: Party, x: Opened, low: int, high: int) -> Cost:
    keys, moved = _key_bytes(math.prod(x.shape), x.width), sent(x.shape, 1)
    return Cost(up=moved, down=moved, dealt_client=keys, dealt_server=keys)


@declares(_outside_cost)
def _is_outside(me: Party, x: Opened, low: int, high: int) -> Protocol[Bits]:
    """Whether x lies outside [low, high) modulo the ring it was opened in.

    x = y - rho lies within if rho does within (y - high, y - low], round the ring: if it is above
    one end of that and not above the other, or the other way round where 0 lies between them.
    """
    width = x.width
    if not 0 < high - low < 1 << width:
        raise ValueError(f"no range from {low} to {high} in a ring of {width} bits")
    ends = [_less(me, x, edge, width) for edge in (low, high)]
    one, two = yield from _below(me, x, width, ends)
    (bits,) = yield from _show(me, [one ^ two], [me.less(*ends) ^ 1], width, None)
    return bits


def outside(me: Party, x: Opened, low: int, high: int) -> Protocol[Checked]:
    """How many elements lie outside [low, high), for ``reveal_checked``; right for every x.

    Raises:
        ValueError: the range is empty, or all of the ring.
    """
    bits = yield from _is_outside(me, x, low, high)
    counted = yield from arithmetic(me, bits, MOST_CHECK_BITS)
    total = counted.share.reshape(1, -1).sum(-1)
    return Checked(Additive(total, counted.bits), math.prod(x.shape))


def _as_opened(c: Bits, m: Array, bits: int) -> Opened:
    """C as an opened value: e - q with q = (2e - 1) m; for e = 0 that is m, for e = 1, 1 - m."""
    return Opened(c.name, c.e, 0, _sign(c) * m, None, bits)


def _sign(c: Bits) -> Array:
    return c.e + c.e - 1


def _arithmetic_cost(me: Party, c: Bits, bits: int) -> Cost:
    return Cost(dealt_server=dealt(c.shape, bits))


@declares(_arithmetic_cost)
def arithmetic(me: Party, c: Bits, bits: int) -> Protocol[Additive]:
    """C as 0 or 1 in the ring of ``bits`` bits."""
    taken = yield Take(specs.Convert(me.fresh("convert"), c.shape, bits, c.ref))
    return Additive(me.opened_share(_as_opened(c, taken["m"], bits)), bits)


def _choose_cost(me: Party, c: Bits, x: Opened) -> Cost:
    mh = dealt(x.shape, x.bits - x.width) if x.shift else 0
    return Cost(dealt_server=2 * dealt(x.shape, x.bits) + mh)


@declares(_choose_cost)
def choose(me: Party, c: Bits, x: Opened) -> Protocol[Additive]:
    """c x elementwise: x where c is 1, else 0, in x's ring. Both have the same shape."""
    taken = yield Take(
        specs.Choose(me.fresh("choose"), x.shape, x.bits, c.ref, x.ref, x.lifted_from)
    )
    sign, bit = _sign(c), _as_opened(c, taken["m"], x.bits)
    crossed = {"qq": sign * taken["mq"]}
    if x.shift:
        crossed["hq"] = sign * taken["mh"]
    return Additive(me.opened_product(x, bit, **crossed), x.bits)


def relu(me: Party, x: Additive | Preshared, bits: int | None = None) -> Protocol[Additive]:
    """max(x, 0), in x's ring or a larger one of ``bits`` bits.

    In x's own ring it is right for every x; lifted, if |x| <= 2^(k-2) in its ring of k bits.
    """
    opened = yield from open_value(me, x, bits)
    (positive,) = yield from at_least(me, opened)
    return (yield from choose(me, positive, opened))


def _clip_bits_cost(me: Party, x: Opened, top: int) -> Cost:
    keys, moved = _key_bytes(math.prod(x.shape), x.width - 1), 2 * sent(x.shape, 1)
    return Cost(up=moved, down=moved, dealt_client=keys, dealt_server=keys)


@declares(_clip_bits_cost)
def _clip_bits(me: Party, x: Opened, top: int) -> Protocol[list[tuple[Bits, ...]]]:
    """Whether 0 <= x < top, and whether x >= top, by one key.

    The first is an exclusive or of two comparisons, in which msb(rho) cancels.
    """
    less = [_less(me, x, threshold, x.width) for threshold in (0, top)]
    low = x.width - 1
    one, two = yield from _below(me, x, low, [reduce(each, low) for each in less])
    signs = [msb(each, x.width) for each in less]
    return (
        yield from together(
            _show(me, [one ^ two], [signs[0] ^ signs[1]], x.width, None),
            _show(me, [two], [signs[1] ^ 1], x.width, x.ref),
        )
    )


def clipped_relu(
    me: Party, x: Additive | Preshared, top: int, bits: int | None = None
) -> Protocol[Additive]:
    """min(max(x, 0), top), in x's ring or a larger one of ``bits`` bits.

    For |x| <= 2^(k-2) in its ring of k bits, and 0 < top <= 2^(k-2).

    Raises:
        ValueError: ``top`` is outside that.
    """
    if not 0 < top <= 1 << (x.bits - 2):
        raise ValueError(f"values of {x.bits} bits are not clipped at {top}")
    opened = yield from open_value(me, x, bits)
    (inside,), (above,) = yield from _clip_bits(me, opened, top)
    part = yield from choose(me, inside, opened)
    most = yield from arithmetic(me, above, part.bits)
    return Additive(me.mix(part.share, most.share * constant(top)), part.bits)


def maximum(me: Party, a: Additive, b: Additive) -> Protocol[Additive]:
    """The larger of a and b, elementwise, which must differ by less than half of their ring.

    Raises:
        ValueError: the rings differ.
    """
    if a.bits != b.bits:
        raise ValueError(f"values of {a.bits} and {b.bits} bits; narrow one of them")
    above = yield from relu(me, Additive(me.mix(a.share, b.share, negate_b=True), a.bits))
    return Additive(me.mix(above.share, b.share), a.bits)


def row_max(me: Party, x: Additive) -> Protocol[Additive]:
    """The largest of the last axis: (..., n) to (..., 1); any two differ by less than half a ring.

    By halves: ceil(log2 n) times two messages each way. Of an odd length, the halves overlap.
    """
    while (n := x.shape[-1]) > 1:
        half = (n + 1) // 2
        left, right = x.share[..., :half], x.share[..., n - half :]
        x = yield from maximum(me, Additive(left, x.bits), Additive(right, x.bits))
    return x
