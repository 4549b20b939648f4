"""Multi-head attention: weights that an approximation makes of the scores, times the values."""

from __future__ import annotations

from typing import NamedTuple

from veilform.approx.entry import Attention, Masking, Scored
from veilform.masks import Columns, Heads, Transpose
from veilform.nn.scales import SCORE, AttentionScales, DivisionScales
from veilform.protocol.effects import Protocol, together
from veilform.protocol.linear import linear
from veilform.protocol.lookup import Checked, interpolate
from veilform.protocol.multiply import matmul, multiply
from veilform.protocol.opening import open_value, raised
from veilform.protocol.party import Party
from veilform.protocol.share import preshare
from veilform.protocol.truncate import drop
from veilform.ring import WORD, constant
from veilform.values import Additive, Array, Opened, Preshared, Weight


class AttentionWeights(NamedTuple):
    """The server's part: queries (already over sqrt(head size)), keys and values side by side."""

    qkv: Weight
    qkv_bias: Array | None = None


def attend(
    me: Party,
    x: Preshared,
    masking: Masking,
    heads: int,
    weights: AttentionWeights,
    attention: Attention,
    scales: AttentionScales,
    checks: list[Checked],
) -> Protocol[Preshared]:
    """The heads' outputs side by side, before the output projection, at ``scales.output``.

    The padding mask is the client's. It multiplies the values and joins the denominator, so a
    padded key counts for nothing. It is round(2^mask_bits / tokens) at tokens: the common factor
    falls out in the division, and keeps the denominator's range independent of the text's length.
    Without a division the weights of padded keys are 0, and the values are taken as they are.

    Args:
        x: (B, S, D) at the layer's scale of rows.

    Returns:
        (B, S, D), in a ring of ``scales.projected`` bits.
    """
    assert attention.secure is not None
    batch, length, width = x.shape
    me.begin("linear")
    projected = yield from linear(me, [(x, weights.qkv)], scales.qkv, weights.qkv_bias)
    q, k, v = (
        projected.view(Columns(i * width, (i + 1) * width)).view(Heads(heads)) for i in range(3)
    )
    me.begin("attention products")
    raw = scales.score + scales.score_shift
    open_q, open_k, open_v = yield from together(
        open_value(me, drop(me, q, scales.query_shift, raw)),
        open_value(me, drop(me, k, scales.query_shift, raw)),
        open_value(me, drop(me, v, scales.value_shift, scales.value), scales.weighted),
    )
    scores = yield from matmul(me, open_q, open_k.view(Transpose()))
    shifted = scores.share
    if me.lead:
        shifted = shifted + constant(round(attention.offset * 2.0 ** (scales.score_shift + SCORE)))
    score = drop(me, Additive(shifted, scores.bits), scales.score_shift)
    if scales.division is None:
        values = Additive(me.opened_share(open_v), scales.weighted)
    else:
        values = yield from multiply(me, open_v, masking.keys)

    me.begin("attention function")
    numerators = yield from attention.secure(me, score, scored(scales), masking, checks)
    me.begin("attention products")
    open_e, open_values = yield from together(open_value(me, numerators), open_value(me, values))
    context = yield from matmul(me, open_e, open_values)
    if scales.division is None:
        rounded = drop(me, context, scales.output_shift)
        result = yield from raised(me, rounded, scales.projected)
    else:
        denominator = yield from matmul(me, open_e, masking.keys)
        me.begin("attention function")
        context = yield from divide(me, context, denominator, scales.division, checks)
        result = drop(me, context, scales.output_shift, scales.projected)
    merged = result.share.swapaxes(1, 2).reshape(batch, length, width)
    return (yield from preshare(me, Additive(merged, result.bits)))


def scored(scales: AttentionScales) -> Scored:
    """What the attention is told of its wires."""
    return Scored(SCORE, scales.bound, scales.numerator, scales.weighted, scales.length)


def divide(
    me: Party,
    context: Additive,
    denominator: Additive,
    scales: DivisionScales,
    checks: list[Checked],
) -> Protocol[Additive]:
    """(.., S, E) rows over their denominators (.., S, 1), at the sum of both scales."""
    share = denominator.share
    if me.lead and scales.epsilon:
        share = share + constant(scales.epsilon)
    open_context, (inverse, checked) = yield from together(
        open_value(me, drop(me, context, scales.context_shift, scales.context), WORD),
        interpolate(me, Additive(share, denominator.bits), scales.table(denominator.bits)),
    )
    checks.append(checked)
    reciprocal = drop(me, inverse, scales.reciprocal_shift, scales.reciprocal)
    open_inverse: Opened = yield from open_value(me, reciprocal, WORD)
    return (yield from multiply(me, open_context, open_inverse))
