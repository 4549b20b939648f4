"""Activations in three pieces: 0 below an interval around zero, x above it, and a middle.

Two comparisons of one opening with the interval's ends choose the piece. The middle may be anything
beyond the interval: there it is multiplied by a 0 that is exact.
"""

from __future__ import annotations

from collections.abc import Callable

from veilform.approx.entry import Elementwise
from veilform.protocol.compare import at_least, choose
from veilform.protocol.effects import Protocol, together
from veilform.protocol.opening import open_value
from veilform.protocol.party import Party
from veilform.protocol.truncate import drop
from veilform.values import Additive, Opened, Preshared

FINE = 1
"""The middle has one fraction bit more than x, so that x / 2 takes part in it as it is."""
Middle = Callable[[Party, Preshared, Opened, int], Protocol[Additive]]
"""Of x (at some source scale, as a share and opened) less x / 2, at scale source + FINE, in a ring
of as many bits as x has; its last argument is the source scale."""


def gated(
    me: Party, x: Preshared, plan: Elementwise, edge: float, middle: Middle
) -> Protocol[Additive]:
    """0 for x < -edge, x for x >= edge, and x / 2 and the middle between them."""
    shift = plan.source + FINE - plan.scale
    opened = yield from open_value(me, x, plan.bits + shift)
    ends = tuple(round(sign * edge * 2.0**plan.source) for sign in (-1, 1))
    (low, high), bent = yield from together(
        at_least(me, opened, ends), middle(me, x, opened, plan.source)
    )
    whole = Additive(bent.share + x.share, x.bits)
    opened_middle = yield from open_value(me, whole, plan.bits + shift)
    inside = yield from choose(me, low, opened_middle)
    above = yield from choose(me, high, opened_middle)
    line = yield from choose(me, high, opened)
    share = me.mix(inside.share, above.share, negate_b=True) + line.share + line.share
    return drop(me, Additive(share, plan.bits + shift), shift)
