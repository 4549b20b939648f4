"""From the last layer to the answer: pooling, classifier, reveal."""

from __future__ import annotations

from veilform.masks import Transpose
from veilform.protocol.effects import Protocol
from veilform.protocol.multiply import matmul
from veilform.protocol.opening import open_value
from veilform.protocol.party import Party
from veilform.protocol.share import preshare
from veilform.values import Opened, Preshared


def mean_pool(me: Party, x: Preshared, weights: Opened, bits: int) -> Protocol[Preshared]:
    """(B, 1, D): the client's weights (B, S, 1) times the rows, summed; scales add up.

    In a ring of ``bits`` bits, which the weights are opened in, too.
    """
    rows = yield from open_value(me, x.narrowed(bits))
    pooled = yield from matmul(me, weights.view(Transpose()), rows)
    return (yield from preshare(me, pooled))
