"""GELU as a curve: lines by segments between -4 and 4, 0 below and x above.

One opening and no more messages, where ``gelu`` has two more: the better one over a slow link, and
on a fast one the slower, as its keys are trees that both parties walk.
"""

from __future__ import annotations

from veilform.approx.curves import CurvedActivation
from veilform.approx.entry import Activation
from veilform.approx.gelu import gelu

CURVE = CurvedActivation(gelu, 4.0, left=(0.0, 0.0), right=(0.0, 1.0))

ENTRY = Activation(
    "curve-gelu",
    gelu,
    "Hendrycks and Gimpel (2016), equation 1; docs/protocols.md, section 20",
    reach=lambda x: x,
    secure=CURVE.secure,
    error=CURVE.error,
    fine=CURVE.fine,
    constants=CURVE.constants,
)
