"""Softmax without a maximum, an exponential or a division, in messages independent of the length.

Softmax of x is y(1) of y_i' = (x_i - s) y_i, s = <x, y>, y(0) uniform (Zheng et al., ACSAC 2023;
also in SHAFT, NDSS 2025). One of r Euler steps is

    y  <-  y + (x - s) y / r.

x is opened once, so products with it are free of messages. A step would open y, then s = <x, y>:
two messages. One is enough, for s can be carried along by an equation of its own. As Euler's step
of y moves s by <x, (x - s) y> / r, and <x, y> = s,

    s  <-  s + (<x^2, y> - s^2) / r,

in which x^2 is opened once too. So y and s travel together, and r steps are r + 1 messages.

What rounding adds to s - <x, y>, or to the sum of y less 1, each step multiplies by 1 - s / r. So
scores are first moved up to be positive: then 0 <= s <= r, such errors fade, and no weight is ever
negative. Softmax does not notice the move.
"""

from __future__ import annotations

import msgspec

from veilform.protocol.effects import Protocol, together
from veilform.protocol.fused import inner, multiply_difference
from veilform.protocol.multiply import square
from veilform.protocol.opening import open_value
from veilform.protocol.party import Party
from veilform.protocol.truncate import rounded
from veilform.ring import WORD, constant
from veilform.values import Additive, Opened


class Plan(msgspec.Struct, frozen=True):
    """Scales and rings of one softmax.

    Attributes:
        steps: log2 of the number of Euler steps; at least bound + 1.
        bound: |score| is at most 2^bound, also of keys that do not count.
        score, weight: fraction bits of the scores, and of the weights.
        ring: bits of the result's ring, which must hold 1: weight + 2 or more.
    """

    steps: int
    bound: int
    score: int
    weight: int
    ring: int

    def __post_init__(self) -> None:
        # Then 1 + (x - s) / r is not negative.
        if not self.bound < self.steps <= 10:
            raise ValueError(f"2^{self.steps} steps do not do for scores up to 2^{self.bound}")
        if self.ring < self.weight + 2 or self.score < 1 or self.weight < self.steps:
            raise ValueError("the weights do not fit their ring or their scale")
        if max(self.opened, self.last) > WORD:
            raise ValueError("the scores, or the last weights, need more than 64 bits")

    @property
    def scores(self) -> int:
        """Ring of the scores, moved up: from 0 to 2^(bound + 1)."""
        return self.score + self.bound + 3

    @property
    def mean(self) -> int:
        """Ring of s, as the scores; one bit more for what rounding adds."""
        return self.scores + 1

    @property
    def weights(self) -> int:
        """Ring of y, which may exceed 1 by what rounding adds."""
        return self.weight + 3

    @property
    def weight_shift(self) -> int:
        """Drops bits of r 2^score y + (x - s) y."""
        return self.steps + self.score

    @property
    def moment(self) -> int:
        """Fraction bits of x^2: a unit over r is no more than one of s."""
        return max(2 * self.score - self.weight, self.score - self.steps, 0)

    @property
    def mean_shift(self) -> int:
        """Drops bits of r s + <x^2, y> - s^2, which has moment + weight fraction bits."""
        return self.moment + self.weight - self.score + self.steps

    @property
    def working(self) -> int:
        """Ring in which a step's products are, and that y, s and x^2 are opened for."""
        return max(
            self.weights + self.weight_shift, self.mean + self.mean_shift, self.mean + self.weight
        )

    @property
    def last(self) -> int:
        """Ring of the last step's products."""
        return self.ring + self.weight_shift

    @property
    def opened(self) -> int:
        """Ring that the scores are lifted to: of their squares, less what these drop."""
        return max(self.working + 2 * self.score - self.moment, self.last)


def softmax_ode(
    me: Party, x: Additive, mask: Opened, plan: Plan, scale: int | None = None
) -> Protocol[Additive]:
    """The weights of each row after the plan's steps, from ``mask``; 2^steps + 1 messages.

    Args:
        x: (..., keys), at ``plan.score``, in a ring of ``plan.scores`` bits or more.
        mask: what the weights start from, in a ring of ``plan.working`` bits or more:
            round(2^scale / count) where a key counts, 0 where not. It may have axes of 1.
        scale: of the mask, at most ``plan.weight``, which is the default. In a coarser one the
            weights do not start from a sum of 1 exactly; the steps bring it there.

    Returns:
        At ``plan.weight``, in a ring of ``plan.ring``. Where the mask is 0, it is exactly 0.

    Raises:
        ValueError: x or the mask has too few bits, or the mask was lifted, or is at a finer scale.
    """
    finer = 0 if scale is None else plan.weight - scale
    if x.bits < plan.scores or mask.bits < plan.working or mask.shift or finer < 0:
        raise ValueError("the scores, or the mask, are not in the rings and scales of the plan")
    top = constant(1 << (plan.score + plan.bound))
    moved = Additive(x.share + top if me.lead else x.share, plan.scores)
    scores = yield from open_value(me, moved, plan.opened)
    squares = (yield from square(me, scores)).share
    shift = 2 * plan.score - plan.moment
    second = rounded(me, Additive(squares, plan.opened), shift, plan.working)
    first = (yield from inner(me, scores, mask)).share << constant(finer)
    start = rounded(me, Additive(first, plan.working), plan.weight, plan.mean)
    mean, moments = yield from together(open_value(me, start, plan.working), open_value(me, second))
    weights = mask
    # The rings that y and s are lifted to after each step but the last.
    for bits in [plan.working] * ((1 << plan.steps) - 2) + [plan.last]:
        y, s = yield from together(
            _weights(me, scores, mean, weights, finer, plan, plan.working, plan.weights),
            _mean(me, moments, mean, weights, finer, plan),
        )
        weights, mean = yield from together(open_value(me, y, bits), open_value(me, s, bits))
        finer = 0
    return (yield from _weights(me, scores, mean, weights, 0, plan, plan.last, plan.ring))


def _weights(
    me: Party, x: Opened, s: Opened, y: Opened, finer: int, plan: Plan, bits: int, to: int
) -> Protocol[Additive]:
    """y + (x - s) y / r for a y that is ``finer`` bits short, with products modulo 2^bits."""
    moved = (yield from multiply_difference(me, x, s, y)).share
    whole = me.opened_share(y) << constant(plan.weight_shift)
    return rounded(me, Additive((whole + moved) << constant(finer), bits), plan.weight_shift, to)


def _mean(
    me: Party, moments: Opened, s: Opened, y: Opened, finer: int, plan: Plan
) -> Protocol[Additive]:
    """s + (<x^2, y> - s^2) / r."""
    up = (yield from inner(me, moments, y)).share << constant(finer)
    down = (yield from square(me, s)).share
    align = plan.moment + plan.weight - 2 * plan.score
    whole = me.opened_share(s) << constant(plan.mean_shift)
    total = Additive(whole + up - (down << constant(align)), plan.working)
    return rounded(me, total, plan.mean_shift, plan.mean)
