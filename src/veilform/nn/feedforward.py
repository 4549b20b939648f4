"""The feed-forward block up to its outer weights: (x W + b), and an activation."""

from __future__ import annotations

from veilform.approx.entry import Activation, Elementwise
from veilform.nn.scales import FeedForwardScales
from veilform.protocol.effects import Protocol
from veilform.protocol.linear import linear
from veilform.protocol.lookup import Checked
from veilform.protocol.party import Party
from veilform.protocol.share import preshare
from veilform.protocol.truncate import drop
from veilform.values import Array, Preshared, Weight


def activate(
    me: Party,
    x: Preshared,
    inner: Weight,
    bias: Array | None,
    activation: Activation,
    scales: FeedForwardScales,
    checks: list[Checked],
) -> Protocol[Preshared]:
    """g(x W + b), for b that holds the activation's shift, in the ring of the block's output.

    Args:
        x: (B, S, D) at ``scales.source``.
        inner: (D, F) at ``scales.entry``; bias (F,) at the sum of both.

    Returns:
        (B, S, F) at ``scales.active``.
    """
    assert activation.secure is not None
    me.begin("linear")
    wide = yield from linear(me, [(x, inner)], scales.inner + scales.entry, bias)
    me.begin("activation")
    plan = elementwise(scales)
    result = yield from activation.secure(me, drop(me, wide, scales.entry), plan, checks)
    return (yield from preshare(me, result))


def elementwise(scales: FeedForwardScales) -> Elementwise:
    """What the activation is told of its wires."""
    return Elementwise(scales.source, scales.bound, scales.active, scales.output)
