"""GELU, exact: ``x Phi(x)``. What a teacher uses.

Source: Hendrycks and Gimpel, Gaussian Error Linear Units (2016), equation 1. Under secure
computation it is the Fourier series of ``fourier_gelu.py``, which is within 0.0014 of it.
"""

from __future__ import annotations

import math

from veilform.approx import fourier_gelu
from veilform.approx.arrays import FloatArray, erf
from veilform.approx.entry import Activation
from veilform.approx.gated import FINE


def gelu(x: FloatArray) -> FloatArray:
    """``x/2 (1 + erf(x / sqrt 2))``, elementwise, in the dtype of ``x``."""
    return x * (0.5 * (1 + erf(x / math.sqrt(2))))


ENTRY = Activation(
    "gelu",
    gelu,
    "Hendrycks and Gimpel (2016), equation 1",
    reach=lambda x: x,  # |gelu(x)| <= |x|
    secure=fourier_gelu.secure,
    error=fourier_gelu.AWAY + fourier_gelu.ENTRY.error,
    fine=FINE,
)
