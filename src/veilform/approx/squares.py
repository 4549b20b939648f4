"""What Quad and 2Quad have in common: the square of one opening."""

from __future__ import annotations

from veilform.approx.entry import Elementwise, Scored
from veilform.protocol.effects import Protocol
from veilform.protocol.multiply import square
from veilform.protocol.opening import open_value
from veilform.protocol.party import Party
from veilform.protocol.truncate import drop
from veilform.values import Additive, Preshared


def squared(me: Party, x: Additive | Preshared, plan: Elementwise | Scored) -> Protocol[Additive]:
    """x^2 at the plan's scale, in its ring."""
    shift = 2 * plan.source - plan.scale
    opened = yield from open_value(me, x, plan.bits + shift)
    return drop(me, (yield from square(me, opened)), shift)
