"""A Fourier series of a value, by one opening modulo its period.

With y = x + rho modulo the period, cos(k w x) = cos(k w y) cos(k w rho) + sin(k w y) sin(k w rho),
and sin(k w x) alike. The dealer, who knows rho, shares its cosines and sines; the rest is local. So
with coefficients a_k, b_k and c, s the public cosine and sine of k w y,

    share(f(x)) = lead a_0 + sum_k (a_k c + b_k s) [cos(k w rho)] + (a_k s - b_k c) [sin(k w rho)].

The public factors multiply shares, which are as large as the ring. So both parties must have the
same, to the last bit: they come from integer arithmetic alone (``kernels.harmonic``).
"""

from __future__ import annotations

from veilform.correlation import specs
from veilform.protocol.cost import Cost, dealt, declares
from veilform.protocol.effects import Protocol, Take
from veilform.protocol.opening import open_value
from veilform.protocol.party import Party
from veilform.protocol.series import Series
from veilform.protocol.truncate import drop
from veilform.ring import WORD, constant, offset
from veilform.values import Additive, Opened, Preshared


def _evaluate_cost(me: Party, x: Opened, series: Series, bits: int) -> Cost:
    return Cost(dealt_server=2 * len(series.orders) * dealt(x.shape, bits))


@declares(_evaluate_cost)
def evaluate(me: Party, x: Opened, series: Series, bits: int) -> Protocol[Additive]:
    """f(x) with ``series.fraction`` fraction bits, off by at most ``series.rounding``; no message.

    x may be lifted or not; only y and rho modulo the period count.

    Args:
        bits: of the result's ring, which must hold f(x).

    Raises:
        ValueError: x was opened in fewer bits than the period has.
    """
    if x.width < series.period:
        raise ValueError(f"a period of 2^{series.period}, of a value opened in {x.width} bits")
    spec = specs.Harmonics(
        me.fresh("harmonics"), x.shape, x.ref, series.period, series.orders, series.phasor, bits
    )
    taken = yield Take(spec)
    # What is kept of a lifted value is (x + 2^(width-2) + rho) 2^shift.
    moved = -int(offset(x.width)) if x.shift else 0
    y = me.mix(x.y, bits=WORD, right=x.shift, then=moved)
    total = me.zeros(x.shape)
    if me.lead:
        total = total + constant(series.constant << series.phasor)
    for order, a, b in zip(series.orders, series.cosines, series.sines, strict=True):
        cos, sin = taken[f"cos{order}"], taken[f"sin{order}"]
        total = me.harmonic(total, y, series.period, order, a, b, cos, sin)
    return Additive(total, bits)


def harmonics(
    me: Party, x: Additive | Preshared, series: Series, scale: int, bits: int
) -> Protocol[Additive]:
    """f(x) with ``scale`` fraction bits in a ring of ``bits``: one opening of period bits.

    Off by at most ``series.rounding`` and one unit of the scale. What each party sees: one array,
    uniform modulo the period.

    Raises:
        ValueError: x has fewer bits than the period, or the sum fewer fraction bits than wanted, or
            the sum's ring more than 64.
    """
    left = series.fraction - scale
    if left < 0 or bits + left > WORD:
        raise ValueError(
            f"sums have {series.fraction} fraction bits; {scale} in a ring of {bits} do not follow"
        )
    opened = yield from open_value(me, x.narrowed(series.period))
    total = yield from evaluate(me, opened, series, bits + left)
    return drop(me, total, left) if left else total
