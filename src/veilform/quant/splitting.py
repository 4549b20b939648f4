"""Bit splitting of gradients: 8-bit integers as two rows of 4-bit ones. Source: arXiv 2306.11987.

The step is max |g| / 119, since 16 high + low reaches from -136 to 119 with both in -8..7. Rounding
is stochastic, to all 8 bits at once; the high part is then a nearest multiple of 16, and what is
left, -8 to 7, is the low part exactly. Nothing is clamped, so the expectation is the gradient.
(The published code clamps the low part at 6.)
"""

from __future__ import annotations

from typing import NamedTuple

import torch

HIGH = 16
MOST = 119
_TINY = 1e-30


class Split(NamedTuple):
    """g = step (16 high + low) in expectation; high and low are int8 from -8 to 7."""

    high: torch.Tensor
    low: torch.Tensor
    step: torch.Tensor


def stochastic_round(x: torch.Tensor) -> torch.Tensor:
    """Integers (as floats) whose expectation is x."""
    return (x + torch.rand_like(x)).floor()


def split(gradient: torch.Tensor) -> Split:
    """Split a gradient (N, D)."""
    step = (gradient.abs().max() / MOST).clamp_min(_TINY)
    # A rounding error of the division must not reach beyond the range.
    whole = stochastic_round(gradient / step).clamp_(-MOST, MOST)
    high = (whole / HIGH + 0.5).floor()  # ties upwards: what is left is -8, never 8
    return Split(high.to(torch.int8), (whole - HIGH * high).to(torch.int8), step)
