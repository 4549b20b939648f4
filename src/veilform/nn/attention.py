"""Multi-head attention with 2Quad: weights (s + 5)^2, masked, divided by their sum."""

from __future__ import annotations

from typing import NamedTuple

from veilform.masks import Columns, Heads, Transpose
from veilform.nn.scales import SCORE, AttentionScales
from veilform.protocol.effects import Protocol, together
from veilform.protocol.linear import linear
from veilform.protocol.lookup import Interpolated, interpolate
from veilform.protocol.multiply import matmul, multiply, square
from veilform.protocol.opening import open_value
from veilform.protocol.party import Party
from veilform.protocol.share import preshare
from veilform.protocol.truncate import drop
from veilform.ring import WORD, constant
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

    Returns:
        (B, S, D), in a ring of ``scales.projected`` bits.
    """
    batch, length, width = x.shape
    projected = yield from linear(me, [(x, weights.qkv)], scales.qkv, weights.qkv_bias)
    q, k, v = (
        projected.view(Columns(i * width, (i + 1) * width)).view(Heads(heads)) for i in range(3)
    )
    raw = scales.score + scales.score_shift
    open_q, open_k, open_v = yield from together(
        open_value(me, drop(me, q, scales.query_shift, raw)),
        open_value(me, drop(me, k, scales.query_shift, raw)),
        open_value(me, drop(me, v, scales.value_shift, scales.value), scales.weighted),
    )
    scores = yield from matmul(me, open_q, open_k.view(Transpose()))
    shifted = scores.share
    if me.lead:
        shifted = shifted + constant(OFFSET << (scales.score_shift + SCORE))
    masked = yield from multiply(me, open_v, mask.view(Heads(1)))

    score = drop(me, Additive(shifted, scores.bits), scales.score_shift)
    squared = scales.weighted + scales.square_shift
    opened_scores = yield from open_value(me, score, squared)
    numerators = yield from square(me, opened_scores)
    open_e, open_masked = yield from together(
        open_value(me, drop(me, numerators, scales.square_shift)), open_value(me, masked)
    )
    context = yield from matmul(me, open_e, open_masked)
    denominator = yield from matmul(me, open_e, mask.view(Heads(1)))

    open_context, inverse = yield from together(
        open_value(me, drop(me, context, scales.context_shift, scales.context), WORD),
        interpolate(me, denominator, scales.table),
    )
    checks.append(inverse)
    reciprocal = drop(me, inverse.value, scales.reciprocal_shift, scales.reciprocal)
    open_inverse = yield from open_value(me, reciprocal, WORD)
    result = drop(
        me, (yield from multiply(me, open_context, open_inverse)), scales.output_shift,
        scales.projected,
    )  # fmt: skip
    merged = result.share.swapaxes(1, 2).reshape(batch, length, width)
    return (yield from preshare(me, Additive(merged, result.bits)))
