"""From the last layer to the answer: pooling, classifier, reveal."""

from __future__ import annotations

from veilform.masks import Row, Transpose
from veilform.nn.scales import PoolerScales
from veilform.protocol.effects import Protocol
from veilform.protocol.linear import linear
from veilform.protocol.lookup import Checked, interpolate
from veilform.protocol.multiply import matmul
from veilform.protocol.opening import open_value
from veilform.protocol.party import Party
from veilform.protocol.share import preshare
from veilform.protocol.truncate import drop
from veilform.ring import constant
from veilform.values import Additive, Array, Opened, Preshared, Weight


def mean_pool(me: Party, x: Preshared, weights: Opened, bits: int) -> Protocol[Preshared]:
    """(B, 1, D): the client's weights (B, S, 1) times the rows, summed; scales add up.

    In a ring of ``bits`` bits, which the weights are opened in, too.
    """
    rows = yield from open_value(me, x.narrowed(bits))
    pooled = yield from matmul(me, weights.view(Transpose()), rows)
    return (yield from preshare(me, pooled))


def first_token_pool(
    me: Party,
    x: Preshared,
    weight: Weight,
    bias: Array | None,
    scales: PoolerScales,
    bits: int,
    checks: list[Checked],
) -> Protocol[Preshared]:
    """(B, 1, D): tanh(first row W + b), at scale HIDDEN, in a ring of ``bits`` bits."""
    wide = yield from linear(me, [(x.view(Row(0)), weight)], scales.ring, bias)
    moved = wide.share
    if me.lead:
        moved = moved + constant(2 * scales.limit)
    curve, checked = yield from interpolate(me, Additive(moved, wide.bits), scales.table)
    checks.append(checked)
    opened = yield from open_value(me, drop(me, curve, scales.shift), bits)
    return (yield from preshare(me, Additive(me.opened_share(opened), bits)))
