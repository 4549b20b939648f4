"""What the registry knows of a function: its plain face, its secure one, and how they compare.

Bounds are real numbers that no input exceeds, whatever it is; they follow from the weights. A plan
is what a secure face is told of its wires, as whole numbers that both parties hold: scales are
counts of fraction bits, rings are given by their bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from veilform.approx.arrays import FloatArray, MaskArray
from veilform.protocol.effects import Protocol
from veilform.protocol.lookup import Checked
from veilform.protocol.party import Party
from veilform.ring import Words
from veilform.values import Additive, Array, Opened, Preshared


class Fold(NamedTuple):
    """How an activation f is the secure function g between weights that the server adjusts.

    f(x) = g(x + shift) / 2^halvings + offset: the shift goes into the bias before, the rest into
    the weights and the bias that follow.
    """

    shift: float = 0.0
    halvings: int = 0
    offset: float = 0.0


AS_IT_IS = Fold()


class Reach(NamedTuple):
    """Bounds on a row: on any element's magnitude, and on its Euclidean length."""

    element: float
    length: float


LEAST_BOUND = 3
"""Inputs have rings for at least 2^3, so that windows and intervals around zero lie within."""


class Elementwise(NamedTuple):
    """The plan of an activation.

    Attributes:
        source: scale of the input x.
        bound: |x| <= 2^bound as a real number; LEAST_BOUND or more. x has a ring of bound + source
            + 2 bits, and the entry's ``room``.
        scale: of the result.
        bits: of the result's ring.
    """

    source: int
    bound: int
    scale: int
    bits: int


def _nothing(plan: Any) -> Sequence[Words]:
    return ()


@dataclass(frozen=True)
class Activation:
    """An elementwise function of the feed-forward block: ``hidden_act`` in config.json.

    Attributes:
        plain: differentiable; takes arrays and tensors.
        reach: bounds on the secure function's row, from those on its input's.
        secure: takes the input at the plan's source, shifted already, and returns the result at
            the plan's scale, in the plan's ring; None if there is no protocol. Checks of ranges go
            to the list.
        error: of the secure function, in absolute terms and beyond rounding: largest difference
            from the plain one, on the domain.
        domain: largest magnitude of an input for which that holds. A larger one raises the flag of
            the run; it never passes in silence.
        degree, fine: a result leaves the arithmetic at ``degree`` times the source's scale and
            ``fine`` bits more, before bits are dropped, in a ring wider by those.
        room: bits that the input's ring has beyond what the input needs.
        constants: what both parties compute from a plan in floating point, to be compared.
        square: whether the secure function is x^2, for which there are closer bounds.
    """

    name: str
    plain: Callable[[FloatArray], FloatArray]
    source: str
    reach: Callable[[Reach], Reach]
    secure: Callable[[Party, Preshared, Elementwise, list[Checked]], Protocol[Additive]] | None
    error: float = 0.0
    domain: float = math.inf
    fold: Fold = AS_IT_IS
    degree: int = 1
    fine: int = 0
    room: int = 0
    constants: Callable[[Elementwise], Sequence[Words]] = _nothing
    square: bool = False


MOST_KEYS = 512
"""The longest row that is served."""


class Scored(NamedTuple):
    """The plan of an attention.

    Attributes:
        source: scale of the scores.
        bound: |score| <= 2^bound as a real number; LEAST_BOUND or more. Scores have a ring of
            bound + source + 2 bits, and the entry's ``room``.
        scale: of the numerators, or of the weights of an attention that does not divide.
        bits: of their ring.
        length: keys of a row.
    """

    source: int
    bound: int
    scale: int
    bits: int
    length: int


class Masking(NamedTuple):
    """The padding mask in the forms that an attention may need.

    Attributes:
        keys: (B, 1, S, 1), opened: round(2^mask_bits / tokens) at tokens, 0 at padding.
        scale: mask_bits.
        padding: the client's (B, 1, 1, S): 1 at padding, 0 at tokens; None at the server.
    """

    keys: Opened
    scale: int
    padding: Array | None


@dataclass(frozen=True)
class Attention:
    """Turns scores and a mask into attention weights: ``softmax_act`` in config.json.

    Scores come scaled by 1/sqrt(head size).

    Attributes:
        plain: differentiable; takes arrays and tensors: (..., keys) scores, and a mask that
            broadcasts against them. Weights are zero where the mask is.
        numerators: what the weights are before they are masked and divided by their sum; None if
            the protocol makes the weights without a division.
        largest: bound on a numerator, from that on a score.
        secure: takes the scores, with ``offset`` added, at the plan's source, and returns the
            numerators (weights, without a division) at the plan's scale, in the plan's ring.
        scale: of the numerators.
        offset: added to every score.
        epsilon: added to the mean of a row's numerators, by which they are divided.
        lowest: bound from below on that mean, for MOST_KEYS at most; None if it has to be measured
            on texts. It is the same for every length, as there is one set of weights for all.
        error: largest difference of a weight from the plain one's, beyond rounding, on the domain.
        domain: largest magnitude of a score for which that holds, as of an activation.
        wanted: interval in which training keeps the mean of a row's numerators, so that the
            division needs a small table; None where ``lowest`` bounds it.
        mask: fewest bits that the opened mask must have.
        degree, fine, room, constants: as of an activation.
    """

    name: str
    plain: Callable[[FloatArray, MaskArray], FloatArray]
    source: str
    numerators: Callable[[FloatArray, MaskArray], FloatArray] | None
    largest: Callable[[float], float]
    secure: Callable[[Party, Additive, Scored, Masking, list[Checked]], Protocol[Additive]] | None
    scale: int
    offset: float = 0.0
    epsilon: float = 0.0
    lowest: float | None = None
    error: float = 0.0
    domain: float = math.inf
    wanted: tuple[float, float] | None = None
    mask: int = 0
    degree: int = 1
    fine: int = 0
    room: int = 0
    constants: Callable[[Scored], Sequence[Words]] = _nothing
