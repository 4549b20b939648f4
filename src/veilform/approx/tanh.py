"""The hyperbolic tangent: BERT's pooler, and an activation like any other."""

from __future__ import annotations

from veilform.approx.arrays import FloatArray, namespace
from veilform.approx.entry import Activation


def tanh(x: FloatArray) -> FloatArray:
    """``tanh x``, elementwise, any shape."""
    return namespace(x).tanh(x)


ENTRY = Activation(
    "tanh",
    tanh,
    "LeCun et al., Efficient BackProp (1998), section 4.4",
    reach=lambda x: x._replace(element=min(x.element, 1.0)),
    secure=None,
)
