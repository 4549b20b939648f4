"""The feed-forward block with Quad: x^2/8 + x/4 + 1/2 = ((x + 1)^2 + 3) / 8.

So the secure function is one square. The server adds the 1 to the inner bias, divides the outer
weights by 8, and adds the 3/8 to the outer bias.
"""

from __future__ import annotations

from veilform.nn.scales import WEIGHT
from veilform.protocol.effects import Protocol
from veilform.protocol.linear import linear
from veilform.protocol.multiply import square
from veilform.protocol.opening import open_value
from veilform.protocol.party import Party
from veilform.protocol.share import preshare
from veilform.values import Array, Preshared, Weight


def quad_inner(me: Party, x: Preshared, inner: Weight, bias: Array | None) -> Protocol[Preshared]:
    """(x W + b)^2 at scale 2 HIDDEN, for b that holds Quad's 1.

    Args:
        x: (B, S, D) at scale HIDDEN.
        inner: (D, F) at scale WEIGHT; bias (F,) at HIDDEN + WEIGHT.
    """
    wide = yield from linear(me, [(x, inner)], bias)
    opened = yield from open_value(me, wide, WEIGHT)
    return (yield from preshare(me, (yield from square(me, opened))))
