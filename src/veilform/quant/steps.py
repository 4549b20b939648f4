"""Rounding with a learned step (LSQ), and what the step learns from.

Source: Esser et al., Learned Step Size Quantization (ICLR 2020, arXiv 1902.08153).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_LEAST = 1e-8


class Rounded(NamedTuple):
    """Integers that times ``step`` are near the values.

    Attributes:
        codes: integers in -2^(bits-1) to 2^(bits-1) - 1, as floats.
        step: positive, of no dimension.
        inside: where nothing was clamped: where gradients pass.
        slope: of the value by the step, at each element.
    """

    codes: Tensor
    step: Tensor
    inside: Tensor
    slope: Tensor

    @property
    def values(self) -> Tensor:
        """What the integers stand for."""
        return self.codes * self.step


def limits(bits: int) -> tuple[int, int]:
    """The smallest and the largest integer."""
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def first_step(x: Tensor, bits: int) -> Tensor:
    """Where a step begins, for values like these."""
    return 2 * x.detach().abs().mean().clamp_min(_LEAST) / limits(bits)[1] ** 0.5


def rounded(x: Tensor, step: Tensor, bits: int) -> Rounded:
    """x to the nearest of the integers times |step|."""
    low, high = limits(bits)
    positive = step.detach().abs().clamp_min(_LEAST)
    v = x / positive
    codes = v.round().clamp_(low, high)
    inside = (v >= low) & (v <= high)
    # Inside round(v) - v; beyond, the limit.
    slope = torch.where(inside, codes - v, codes)
    return Rounded(codes, positive, inside, slope)


def step_gradient(of: Rounded, upstream: Tensor, step: Tensor, bits: int) -> Tensor:
    """What a step learns from the gradient of the rounded values."""
    total = (of.slope * upstream).sum() / (limits(bits)[1] * upstream.numel()) ** 0.5
    return total * torch.where(step < 0, -1.0, 1.0).to(total)
