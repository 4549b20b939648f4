"""GELU by a polynomial between -2.8 and 2.8; 0 below and x above.

x / 2 and an even polynomial of degree six. Source: the pieces and the even middle are those of
Dong et al., PUMA (2023), and Pang et al., BOLT (S&P 2024); the coefficients are ours, a minimax fit
of GELU less x / 2.
"""

from __future__ import annotations

from veilform.approx.arrays import FloatArray, namespace
from veilform.approx.entry import Activation, Elementwise
from veilform.approx.gated import FINE, gated
from veilform.protocol.effects import Protocol
from veilform.protocol.lookup import Checked
from veilform.protocol.multiply import multiply, square
from veilform.protocol.opening import open_value
from veilform.protocol.party import Party
from veilform.protocol.truncate import drop
from veilform.ring import constant
from veilform.values import Additive, Opened, Preshared

EDGE = 2.8
COEFFICIENTS = (430, 24011, -2636, 135)
"""Of 1, x^2, x^4, x^6, over 2^16."""
FRACTION = 16
POWER = 10
"""Scale of x^2 and x^4."""
SQUARE, FOURTH = POWER + 5, POWER + 8
"""Their rings, which hold them as long as |x| < 2.8."""


def poly_gelu(x: FloatArray) -> FloatArray:
    """The pieces, elementwise, in the dtype of ``x``."""
    xp = namespace(x)
    inside = x.clip(-EDGE, EDGE)
    u = inside * inside
    a, b, c, d = (each * 2.0**-FRACTION for each in COEFFICIENTS)
    middle = x / 2 + a + u * (b + u * (c + u * d))
    return xp.where(x >= EDGE, x, xp.where(x < -EDGE, xp.zeros_like(x), middle))


def _middle(me: Party, x: Preshared, opened: Opened, source: int) -> Protocol[Additive]:
    """a + b u + u^2 (c + d u), with u = x^2 and u^2 opened in turn."""
    u = drop(me, (yield from square(me, opened)), 2 * source - POWER).narrowed(SQUARE)
    left = FRACTION + 2 * POWER - source - FINE
    wide = x.bits + left
    first = yield from open_value(me, u, wide + POWER)
    u2 = drop(me, (yield from square(me, first)), POWER).narrowed(FOURTH)
    second = yield from open_value(me, u2, wide)
    cubes = (yield from multiply(me, first, second)).share
    a, b, c, d = COEFFICIENTS
    share = cubes * constant(d)
    share = share + me.opened_share(second) * constant(c << POWER)
    share = share + me.opened_share(first) * constant(b << POWER)
    if me.lead:
        share = share + constant(a << 2 * POWER)
    return drop(me, Additive(share, wide), left)


def secure(me: Party, x: Preshared, plan: Elementwise, checks: list[Checked]) -> Protocol[Additive]:
    """Comparisons beside the powers of x."""
    return (yield from gated(me, x, plan, EDGE, _middle))


ENTRY = Activation(
    "poly-gelu",
    poly_gelu,
    "Dong et al., PUMA (2023), section 4; Pang et al., BOLT (S&P 2024)",
    reach=lambda x: x._replace(element=x.element + 0.01),
    secure=secure,
    error=2.0**-10,
    fine=FINE,
)
