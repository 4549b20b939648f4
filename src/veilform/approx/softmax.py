"""Softmax with a mask. What a teacher uses.

Source: Vaswani et al., Attention Is All You Need (2017), equation 1.
"""

from __future__ import annotations

from veilform.approx.arrays import FloatArray, MaskArray, namespace
from veilform.approx.entry import Attention


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


ENTRY = Attention(
    "softmax",
    softmax,
    "Vaswani et al. (2017), equation 1",
    numerators=numerators,
    largest=lambda score: 1.0,
    secure=None,
    scale=14,
    lowest=lambda length: 1 / length,
)
