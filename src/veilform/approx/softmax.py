"""Softmax with a mask. What a teacher uses.

Source: Vaswani et al., Attention Is All You Need (2017), equation 1. Under secure computation: the
largest score of a row by a tree of comparisons, the exponential of what a score lies below it as a
curve, and the division that every attention with numerators has.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from veilform.approx.arrays import FloatArray, MaskArray, namespace
from veilform.approx.curves import FINE, Lines, fit, follow
from veilform.approx.entry import MOST_KEYS, Attention, Masking, Scored
from veilform.protocol import tables
from veilform.protocol.compare import row_max
from veilform.protocol.effects import Protocol
from veilform.protocol.lookup import Checked
from veilform.protocol.party import Party
from veilform.ring import Words, constant
from veilform.values import Additive

LOWEST = -10.0
"""exp of less is taken for 0: 128 keys so far below the largest make 0.6 % of a row together."""
TOLERANCE = 2.0**-8
"""At 0; a line is off by as much relative to the exponential anywhere."""


def softmax(scores: FloatArray, mask: MaskArray) -> FloatArray:
    """Weights over the last axis, zero where ``mask`` is zero.

    Args:
        scores: (..., keys).
        mask: broadcasts against ``scores``; one for a key that counts, zero for padding.

    Each row needs a key that counts; otherwise it is NaN.
    """
    e = numerators(scores, mask)
    return e / e.sum(axis=-1, keepdims=True)


def numerators(scores: FloatArray, mask: MaskArray) -> FloatArray:
    """``exp(s - m)``, m the largest score of the row that counts; 0 where ``mask`` is zero."""
    xp = namespace(scores)
    masked = xp.where(mask != 0, scores, -xp.inf)
    return xp.exp(masked - xp.amax(masked, axis=-1, keepdims=True))


def secure(
    me: Party,
    scores: Additive,
    plan: Scored,
    masking: Masking,
    checks: list[Checked],
) -> Protocol[Additive]:
    """exp(s - m), at most 1 for padding too: only m must not be a padded key's score.

    So the client takes twice the bound off those. All scores then differ by at most four times the
    bound, for which the ring has one bit of room.
    """
    reached = scores.share
    if masking.padding is not None:
        far = constant(-(1 << (plan.bound + plan.source + 1)))
        reached = reached + me.repeat(masking.padding, scores.shape) * far
    largest = yield from row_max(me, Additive(reached, scores.bits))
    top = me.repeat(largest.share, scores.shape)
    below = Additive(me.mix(scores.share, top, negate_b=True), scores.bits)
    return (yield from follow(me, below, plan, table(plan)))


@functools.cache
def table(plan: Scored) -> tables.Curve:
    """exp below 0, and 1 above."""
    lowest = max(LOWEST, -(2.0 ** (plan.bound + 1)))
    lines = Lines(np.exp, lowest, 0.0, (0.0, 0.0), (1.0, 0.0), TOLERANCE)
    return fit(lines, plan, plan.bound + plan.source + 3)


def constants(plan: Scored) -> Sequence[Words]:
    """The lines, which both parties fit in floating point."""
    return (table(plan).segments.rows,)


ENTRY = Attention(
    "softmax",
    softmax,
    "Vaswani et al. (2017), equation 1",
    numerators=numerators,
    largest=lambda score: 1.0,
    secure=secure,
    scale=14,
    lowest=1 / MOST_KEYS,
    error=TOLERANCE,
    fine=FINE,
    room=1,
    constants=constants,
)
