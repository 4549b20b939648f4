"""The feed-forward block with Quad: x^2/8 + x/4 + 1/2 = ((x + 1)^2 + 3) / 8.

So the secure function is one square. The server adds the 1 to the inner bias, divides the outer
weights by 8, and adds the 3/8 to the outer bias.
"""

from __future__ import annotations

from veilform.nn.scales import WEIGHT, FeedForwardScales
from veilform.protocol.effects import Protocol
from veilform.protocol.linear import linear
from veilform.protocol.multiply import square
from veilform.protocol.opening import open_value
from veilform.protocol.party import Party
from veilform.protocol.share import preshare
from veilform.protocol.truncate import drop
from veilform.values import Array, Preshared, Weight


def quad_inner(
    me: Party, x: Preshared, inner: Weight, bias: Array | None, scales: FeedForwardScales
) -> Protocol[Preshared]:
    """(x W + b)^2 at ``scales.squares``, for b that holds Quad's 1, in the ring of the output.

    Args:
        x: (B, S, D) at scale HIDDEN.
        inner: (D, F) at scale WEIGHT; bias (F,) at HIDDEN + WEIGHT.
    """
    wide = yield from linear(me, [(x, inner)], scales.inner + WEIGHT, bias)
    opened = yield from open_value(me, drop(me, wide, WEIGHT), scales.output + scales.square_shift)
    squares = yield from square(me, opened)
    return (yield from preshare(me, drop(me, squares, scales.square_shift)))
