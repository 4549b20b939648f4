"""Quad: the polynomial that stands in for GELU.

Source: Li et al., MPCFormer (ICLR 2023): ``0.125 x^2 + 0.25 x + 0.5``. All three
coefficients are powers of two, so fixed-point evaluation needs no rounding.
"""

from __future__ import annotations

from veilform.approx.arrays import FloatArray
from veilform.approx.entry import Activation


def quad(x: FloatArray) -> FloatArray:
    """``x^2/8 + x/4 + 1/2``, elementwise, any shape."""
    # Two multiplications: ((x + 2) x) / 8 + 1/2.
    return (x + 2) * x / 8 + 0.5


ENTRY = Activation("quad", quad, True, "Li et al., MPCFormer (ICLR 2023), its stand-in for GELU")
