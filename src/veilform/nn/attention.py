"""Multi-head attention with 2Quad: weights (s + 5)^2, masked, divided by their sum."""

from __future__ import annotations

from typing import NamedTuple

from veilform.masks import Columns, Heads, Transpose
from veilform.nn.scales import HIDDEN, SCORE, WEIGHT, AttentionScales
from veilform.protocol.effects import Protocol, together
from veilform.protocol.linear import linear
from veilform.protocol.lookup import Interpolated, interpolate
from veilform.protocol.multiply import matmul, multiply, square
from veilform.protocol.opening import open_value
from veilform.protocol.party import Party
from veilform.protocol.share import preshare
from veilform.values import Additive, Array, Opened, Preshared, Weight

OFFSET = 5
"""2Quad(s) is (s + 5)^2 over its sum (MPCFormer, arXiv 2211.01452, section 3)."""


class AttentionWeights(NamedTuple):
    """The server's part: queries (already over sqrt(head size)), keys and values side by side."""

    qkv: Weight
    qkv_bias: Array | None = None


def attend(
    me: Party,
    x: Preshared,
    mask: Opened,
    heads: int,
    weights: AttentionWeights,
    scales: AttentionScales,
    checks: list[Interpolated],
) -> Protocol[Preshared]:
    """The heads' outputs side by side, before the output projection, at ``scales.output``.

    The padding mask is the client's. It multiplies the values and joins the denominator, so a
    padded key counts for nothing. It is round(2^mask_bits / tokens) at tokens: the common factor
    falls out in the division, and keeps the denominator's range independent of the text's length.

    Args:
        x: (B, S, D) at scale HIDDEN.
        mask: (B, S, 1), masked by the client.
    """
    batch, length, width = x.shape
    projected = yield from linear(me, [(x, weights.qkv)], weights.qkv_bias)
    q, k, v = (
        projected.view(Columns(i * width, (i + 1) * width)).view(Heads(heads)) for i in range(3)
    )
    open_q, open_k, open_v = yield from together(
        open_value(me, q), open_value(me, k), open_value(me, v, scales.value_shift)
    )
    scores = yield from matmul(me, open_q, open_k.view(Transpose()))
    shifted = scores.share
    if me.lead:
        shifted = shifted + me.ring.constant(OFFSET << 2 * (HIDDEN + WEIGHT))
    masked = yield from multiply(me, open_v, mask.view(Heads(1)))

    shift = 2 * (HIDDEN + WEIGHT) - SCORE
    opened_scores = yield from open_value(me, Additive(shifted), shift)
    numerators = yield from square(me, opened_scores)
    open_e, open_masked = yield from together(open_value(me, numerators), open_value(me, masked))
    context = yield from matmul(me, open_e, open_masked)
    denominator = yield from matmul(me, open_e, mask.view(Heads(1)))

    open_context, inverse = yield from together(
        open_value(me, context, scales.context_shift), interpolate(me, denominator, scales.table)
    )
    checks.append(inverse)
    open_inverse = yield from open_value(me, inverse.value, scales.reciprocal_shift)
    result = yield from multiply(me, open_context, open_inverse)
    merged = result.share.swapaxes(1, 2).reshape(batch, length, width)
    return (yield from preshare(me, Additive(merged)))
