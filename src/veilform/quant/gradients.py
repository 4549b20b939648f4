"""Gradients as small integers, without bias: rounded, on a logarithmic scale, split, and sampled.

"Without bias": over the random bits, the expected value is the gradient itself. Learning goes on
with noisy gradients, and stops with biased ones.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

SPLIT_RANGE = 7 * 16 + 7
"""Of integers that are 16 h + l, with h and l in -8 to 7, both signs alike: more would be clamped,
and clamping is a bias."""
LUQ_LEVELS = 7
"""Powers of two that three bits can name, beside zero."""
MOST_DOUBLINGS = 4
"""A kept row counts 1, 2, ... 16 times: its 4-bit integers stay 8-bit ones."""
_LEAST = 1e-30


def stochastic(x: Tensor) -> Tensor:
    """Each number to one of its two neighbouring integers, without bias."""
    return torch.floor(x + torch.rand_like(x))


def rounded(x: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Integers of that many bits, and what one of them stands for."""
    high = (1 << (bits - 1)) - 1
    unit = x.abs().amax().clamp_min(_LEAST) / high
    return stochastic(x / unit), unit


def luq(x: Tensor) -> Tensor:
    """Zero, or a power of two times the smallest one, to either side.

    Source: Chmiel et al., Accurate Neural Training with 4-bit Matrix Multiplications at Standard
    Formats (ICLR 2023, arXiv 2112.10769).
    """
    size = x.abs()
    least = size.amax().clamp_min(_LEAST) / 2 ** (LUQ_LEVELS - 1)
    scaled = size / least
    below = torch.exp2(torch.floor(torch.log2(scaled.clamp_min(1.0))))
    # Between two powers, or between zero and the least one: the nearer, the likelier.
    floor = torch.where(scaled < 1, torch.zeros_like(scaled), below)
    gap = torch.where(scaled < 1, torch.ones_like(scaled), below)
    up = torch.rand_like(scaled) * gap < scaled - floor
    return torch.sign(x) * least * (floor + up * gap)


class Split(NamedTuple):
    """Gradients (rows, n) as two 4-bit integers each: ``unit`` times (16 high + low).

    Attributes:
        codes: (2 rows, n), integers in -8 to 7, the high parts first.
        weights: (2 rows,): what a code of each row stands for, in units.
    """

    codes: Tensor
    weights: Tensor
    unit: Tensor


def split(x: Tensor) -> Split:
    """Gradients (rows, n) as 8-bit integers, without bias, in two parts.

    The sum of the parts is rounded as a whole, and then taken apart exactly: a low part that is
    rounded by itself could come out as 8, and be clamped.
    """
    unit = x.abs().amax().clamp_min(_LEAST) / SPLIT_RANGE
    whole = stochastic(x / unit).clamp_(-SPLIT_RANGE, SPLIT_RANGE)
    high = torch.floor((whole + 8) / 16)
    low = whole - 16 * high
    ones = torch.ones(len(x), dtype=x.dtype, device=x.device)
    return Split(torch.cat([high, low]), torch.cat([16 * ones, ones]), unit)


def probabilities(contribution: Tensor, kept: float) -> Tensor:
    """How likely each row is kept, so that ``kept`` of them are expected.

    In proportion to what a row contributes, at most 1, and a power of two down to 1/16: so a kept
    row counts a whole number of times. Rows of no contribution are not kept.
    """
    if int((contribution > 0).sum()) <= kept:
        return (contribution > 0).to(contribution)
    share = contribution / contribution.amax().clamp_min(_LEAST)

    def at(factor: float) -> Tensor:
        p = (factor * share).clamp(max=1.0).clamp_min(2.0**-MOST_DOUBLINGS)
        return torch.where(share > 0, torch.exp2(torch.ceil(torch.log2(p))), torch.zeros_like(p))

    # The expected number grows with the factor, in steps; the largest that does not exceed it.
    low, high = 0.0, 2.0 ** (MOST_DOUBLINGS + 40)
    for _ in range(60):
        middle = (low * high) ** 0.5 if low > 0 else high / 2**20
        if float(at(middle).sum()) <= kept:
            low = middle
        else:
            high = middle
        if low > 0 and high / low < 1.001:
            break
    return at(low)


class Sampled(NamedTuple):
    """Rows that were kept: which, and how often each counts, 1 / p."""

    rows: Tensor
    counts: Tensor


def sampled(contribution: Tensor, kept: float) -> Sampled:
    """Keeps each row with its probability, independently."""
    p = probabilities(contribution, kept)
    rows = (torch.rand_like(p) < p).nonzero().squeeze(1)
    return Sampled(rows, 1 / p[rows])
