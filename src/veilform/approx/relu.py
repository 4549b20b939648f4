"""ReLU: ``max(x, 0)``."""

from __future__ import annotations

from veilform.approx.arrays import FloatArray
from veilform.approx.entry import Activation


def relu(x: FloatArray) -> FloatArray:
    """``max(x, 0)``, elementwise, any shape."""
    return x.clip(min=0)


ENTRY = Activation(
    "relu",
    relu,
    "Nair and Hinton (ICML 2010), section 2",
    reach=lambda x: x,
    secure=None,
)
