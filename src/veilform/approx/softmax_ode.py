"""Softmax as the end of an ordinary differential equation, by Euler's method in 16 steps.

y(1) of y_i' = (x_i - <x, y>) y_i with y(0) uniform is softmax(x). Source: Zheng, Zhang, Chen, Chen,
Liu: Secure softmax/sigmoid for machine-learning computation (ACSAC 2023), section 4; Kei and Chow,
SHAFT (NDSS 2025). No maximum, no exponential, no division; the number of messages does not depend
on the length. For scores within +-8, which is checked.
"""

from __future__ import annotations

from veilform.approx.arrays import FloatArray, MaskArray, namespace
from veilform.approx.entry import Attention, Masking, Scored
from veilform.masks import Transpose
from veilform.protocol import softmax_ode as protocol
from veilform.protocol.compare import outside
from veilform.protocol.effects import Protocol, together
from veilform.protocol.lookup import Checked
from veilform.protocol.opening import open_value
from veilform.protocol.party import Party
from veilform.values import Additive

STEPS = 4
"""log2."""
BOUND = 3
"""log2 of the largest score. With no more than 2^STEPS no weight is ever negative."""
WEIGHT = 14


def softmax_ode(scores: FloatArray, mask: MaskArray, steps: int = 1 << STEPS) -> FloatArray:
    """Weights over the last axis after ``steps`` steps from the uniform ones; they sum to 1.

    They stay between 0 and 1 if no score is farther than ``steps`` below the weighted mean of its
    row, on the way; which holds if scores that count differ by ``steps`` at most.

    Args:
        scores: (..., keys).
        mask: broadcasts against ``scores``; one for a key that counts, zero for padding.
    """
    valid = namespace(scores).asarray(mask, dtype=scores.dtype)
    weights = valid / valid.sum(axis=-1, keepdims=True)
    for _ in range(steps):
        mean = (scores * weights).sum(axis=-1, keepdims=True)
        weights = weights + (scores - mean) * weights / steps
    return weights


def secure(
    me: Party, scores: Additive, plan: Scored, masking: Masking, checks: list[Checked]
) -> Protocol[Additive]:
    """The steps, and beside them a count of scores beyond the domain."""
    how = protocol.Plan(STEPS, BOUND, plan.source, plan.scale, plan.bits)
    start = masking.keys.view(Transpose())
    weights, beyond = yield from together(
        protocol.softmax_ode(me, scores, start, how, masking.scale), _beyond(me, scores, plan)
    )
    checks.append(beyond)
    return weights


def _beyond(me: Party, scores: Additive, plan: Scored) -> Protocol[Checked]:
    opened = yield from open_value(me, scores)
    edge = 1 << (BOUND + plan.source)
    return (yield from outside(me, opened, -edge, edge))


ENTRY = Attention(
    "softmax-ode",
    softmax_ode,
    "Zheng et al., Secure softmax/sigmoid (ACSAC 2023), section 4; SHAFT (NDSS 2025)",
    numerators=None,
    largest=lambda score: 1.0,
    secure=secure,
    scale=WEIGHT,
    domain=2.0**BOUND,
    error=2.0**-8,
    degree=0,
    room=1,
    mask=protocol.Plan(STEPS, BOUND, 10, WEIGHT, WEIGHT + 2).working,  # scores come at scale 10
)
