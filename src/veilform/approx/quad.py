"""Quad: the polynomial that stands in for GELU.

Source: Li et al., MPCFormer (ICLR 2023): ``0.125 x^2 + 0.25 x + 0.5``. All three
coefficients are powers of two, so fixed-point evaluation needs no rounding.
It is ``((x + 1)^2 + 3) / 8``: under secure computation one square.
"""

from __future__ import annotations

from veilform.approx.arrays import FloatArray
from veilform.approx.entry import Activation, Elementwise, Fold, Reach
from veilform.approx.squares import squared
from veilform.protocol.effects import Protocol
from veilform.protocol.lookup import Checked
from veilform.protocol.party import Party
from veilform.values import Additive, Preshared


def quad(x: FloatArray) -> FloatArray:
    """``x^2/8 + x/4 + 1/2``, elementwise, any shape."""
    # Two multiplications: ((x + 2) x) / 8 + 1/2.
    return (x + 2) * x / 8 + 0.5


def secure(me: Party, x: Preshared, plan: Elementwise, checks: list[Checked]) -> Protocol[Additive]:
    """x^2."""
    return (yield from squared(me, x, plan))


ENTRY = Activation(
    "quad",
    quad,
    "Li et al., MPCFormer (ICLR 2023), its stand-in for GELU",
    reach=lambda x: Reach(x.element**2, x.element * x.length),
    secure=secure,
    fold=Fold(shift=1, halvings=3, offset=3 / 8),
    degree=2,
    square=True,
)
