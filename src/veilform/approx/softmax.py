"""Softmax with a mask. What a teacher uses; it has no secure protocol here.

Source: Vaswani et al., Attention Is All You Need (2017), equation 1.
"""

from __future__ import annotations

import numpy as np

from veilform.approx.arrays import FloatArray, MaskArray


def softmax(scores: FloatArray, mask: MaskArray) -> FloatArray:
    """Weights over the last axis, zero where ``mask`` is zero.

    Args:
        scores: (..., keys).
        mask: broadcasts against ``scores``; one for a key that counts, zero for padding.

    Each row needs a key that counts; otherwise it is NaN.
    """
    masked = np.where(mask != 0, scores, scores.dtype.type(-np.inf))
    e = np.exp(masked - masked.max(axis=-1, keepdims=True))
    weights: FloatArray = e / e.sum(axis=-1, keepdims=True)
    return weights
