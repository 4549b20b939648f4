"""2ReLU: attention weights ``relu(s) / (sum relu(s) + eps)``.

Source: Mohassel and Zhang, SecureML (S&P 2017), section 5.3; Li et al., MPCFormer (ICLR 2023). The
constant keeps a row without a positive score from dividing by zero: its weights are zeros.
"""

from __future__ import annotations

from veilform.approx.arrays import FloatArray, MaskArray, namespace
from veilform.approx.entry import Attention, Masking, Scored
from veilform.protocol import compare
from veilform.protocol.effects import Protocol
from veilform.protocol.lookup import Checked
from veilform.protocol.party import Party
from veilform.values import Additive

EPSILON = 2.0**-4
"""Added to the mean of the row, so that its meaning does not depend on the row's length."""


def tworelu(scores: FloatArray, mask: MaskArray) -> FloatArray:
    """Weights over the last axis, zero where ``mask`` is zero.

    Args:
        scores: (..., keys), already scaled by ``1/sqrt(head size)``.
        mask: broadcasts against ``scores``; one for a key that counts, zero for padding.
    """
    valid = namespace(scores).asarray(mask, dtype=scores.dtype)
    e = scores.clip(min=0) * valid
    count = valid.sum(axis=-1, keepdims=True)
    return e / (e.sum(axis=-1, keepdims=True) + EPSILON * count)


def secure(
    me: Party, scores: Additive, plan: Scored, masking: Masking, checks: list[Checked]
) -> Protocol[Additive]:
    """relu(s)."""
    return (yield from compare.relu(me, scores, plan.bits))


ENTRY = Attention(
    "2relu",
    tworelu,
    "Mohassel and Zhang, SecureML (S&P 2017), section 5.3; Li et al., MPCFormer (ICLR 2023)",
    numerators=lambda scores, mask: scores.clip(min=0),
    largest=lambda score: score,
    secure=secure,
    scale=10,  # that of the scores
    epsilon=EPSILON,
    wanted=(0.1, 30.0),
)
