"""The hyperbolic tangent: BERT's pooler, and an activation like any other.

Under secure computation it is a curve: lines by segments around zero, -1 below and 1 above.
"""

from __future__ import annotations

from veilform.approx.arrays import FloatArray, namespace
from veilform.approx.curves import CurvedActivation
from veilform.approx.entry import Activation


def tanh(x: FloatArray) -> FloatArray:
    """``tanh x``, elementwise, any shape."""
    return namespace(x).tanh(x)


CURVE = CurvedActivation(tanh, 4.5, left=(-1.0, 0.0), right=(1.0, 0.0), error=2.0**-11, fine=11)
"""Finer than others: a head has one row of it a text, and its logits come right after."""

ENTRY = Activation(
    "tanh",
    tanh,
    "LeCun et al., Efficient BackProp (1998), section 4.4",
    reach=lambda x: x._replace(element=min(x.element, 1.0)),
    secure=CURVE.secure,
    error=CURVE.error,
    fine=CURVE.fine,
    constants=CURVE.constants,
)
