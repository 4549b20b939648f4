"""Softmax as the end of an ordinary differential equation, by Euler's method.

y(1) of y_i' = (x_i - <x, y>) y_i with y(0) uniform is softmax(x) (Zheng, Zhang, Chen, Chen, Liu:
Secure softmax/sigmoid for machine-learning computation, ACSAC 2023, section 4).
"""

from __future__ import annotations

from veilform.approx.arrays import FloatArray, MaskArray


def softmax_ode(scores: FloatArray, mask: MaskArray, steps: int) -> FloatArray:
    """Weights over the last axis after ``steps`` steps from the uniform ones; they sum to 1.

    They stay between 0 and 1 if no score is farther than ``steps`` below the weighted mean of its
    row, on the way; which holds if scores that count differ by ``steps`` at most.

    Args:
        scores: (..., keys).
        mask: broadcasts against ``scores``; one for a key that counts, zero for padding.
    """
    weights = mask / mask.sum(axis=-1, keepdims=True)
    for _ in range(steps):
        mean = (scores * weights).sum(axis=-1, keepdims=True)
        weights = weights + (scores - mean) * weights / steps
    return weights
