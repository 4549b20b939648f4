"""ReLU: ``max(x, 0)``, by a comparison."""

from __future__ import annotations

from veilform.approx.arrays import FloatArray
from veilform.approx.entry import Activation, Elementwise
from veilform.protocol import compare
from veilform.protocol.effects import Protocol
from veilform.protocol.lookup import Checked
from veilform.protocol.party import Party
from veilform.protocol.truncate import drop
from veilform.values import Additive, Preshared


def relu(x: FloatArray) -> FloatArray:
    """``max(x, 0)``, elementwise, any shape."""
    return x.clip(min=0)


def secure(me: Party, x: Preshared, plan: Elementwise, checks: list[Checked]) -> Protocol[Additive]:
    """One opening, and one bit each way."""
    shift = plan.source - plan.scale
    above = yield from compare.relu(me, x, plan.bits + shift)
    return drop(me, above, shift) if shift else above


ENTRY = Activation(
    "relu", relu, "Nair and Hinton (ICML 2010), section 2", reach=lambda x: x, secure=secure
)
