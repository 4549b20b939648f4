"""GELU, exact: ``x Phi(x)``. What a teacher uses.

Source: Hendrycks and Gimpel, Gaussian Error Linear Units (2016), equation 1. Under secure
computation it is a curve: lines by segments around zero, 0 below and x above.
"""

from __future__ import annotations

import math

from veilform.approx.arrays import FloatArray, erf
from veilform.approx.curves import CurvedActivation
from veilform.approx.entry import Activation


def gelu(x: FloatArray) -> FloatArray:
    """``x/2 (1 + erf(x / sqrt 2))``, elementwise, in the dtype of ``x``."""
    return x * (0.5 * (1 + erf(x / math.sqrt(2))))


CURVE = CurvedActivation(gelu, 4.0, left=(0.0, 0.0), right=(0.0, 1.0))

ENTRY = Activation(
    "gelu",
    gelu,
    "Hendrycks and Gimpel (2016), equation 1",
    reach=lambda x: x,  # |gelu(x)| <= |x|
    secure=CURVE.secure,
    error=CURVE.error,
    fine=CURVE.fine,
    constants=CURVE.constants,
)
