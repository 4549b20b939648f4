"""2Quad: the attention weights that stand in for softmax.

Source: Li et al., MPCFormer (ICLR 2023): ``(s + c)^2 / sum (s + c)^2`` with c = 5. The
mask multiplies the squares: adding a large negative number before squaring, as for softmax, would
make masked keys the largest.
"""

from __future__ import annotations

from veilform.approx.arrays import FloatArray, MaskArray, namespace
from veilform.approx.entry import Attention, Masking, Scored
from veilform.approx.squares import squared
from veilform.protocol.effects import Protocol
from veilform.protocol.lookup import Checked
from veilform.protocol.party import Party
from veilform.values import Additive

SHIFT = 5
"""c: scores above ``-SHIFT`` keep their order."""


def numerator(scores: FloatArray) -> FloatArray:
    """``(s + 5)^2``, elementwise, before the mask."""
    shifted = scores + SHIFT
    return shifted * shifted


def twoquad(scores: FloatArray, mask: MaskArray) -> FloatArray:
    """Weights over the last axis, zero where ``mask`` is zero.

    Args:
        scores: (..., keys), already scaled by ``1/sqrt(head size)``.
        mask: broadcasts against ``scores``; one for a key that counts, zero for padding.

    Each row needs a key that counts and whose score is not exactly -5; otherwise it is NaN.
    """
    e = numerator(scores) * namespace(scores).asarray(mask, dtype=scores.dtype)
    return e / e.sum(axis=-1, keepdims=True)


def secure(
    me: Party, scores: Additive, plan: Scored, masking: Masking, checks: list[Checked]
) -> Protocol[Additive]:
    """(s + 5)^2 of scores that hold the 5 already."""
    return (yield from squared(me, scores, plan))


ENTRY = Attention(
    "2quad",
    twoquad,
    "Li et al., MPCFormer (ICLR 2023), its stand-in for softmax",
    numerators=lambda scores, mask: numerator(scores),
    largest=lambda score: score**2,
    secure=secure,
    scale=9,
    offset=SHIFT,
    wanted=(6.0, 300.0),
    degree=2,
)
