"""Quantisation by a learned step. Source: arXiv 2306.11987, 3.1, after LSQ (arXiv 1902.08153).

q(x) = clamp(round(x / s), -8, 7), and the step learns too: the derivative of s q(x) by s is
round(v) - v inside the range, v = x / s, and -8 or 7 beyond it.
"""

from __future__ import annotations

import math

import torch

LEAST, MOST = -8, 7
_TINY = 1e-8


def initial_step(x: torch.Tensor) -> torch.Tensor:
    """2 mean |x| / sqrt(7), a scalar."""
    return (2 * x.abs().mean() / math.sqrt(MOST)).clamp_min(_TINY)


def positive(step: torch.Tensor) -> torch.Tensor:
    """The step in use: the parameter's absolute value, never zero."""
    return step.detach().abs().clamp_min(_TINY)


def quantise(x: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """int8 integers from -8 to 7."""
    return (x / step).round().clamp(LEAST, MOST).to(torch.int8)


def gradients(
    upstream: torch.Tensor, x: torch.Tensor, step: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients by x (masked to the inside) and by the step.

    Args:
        upstream: gradient by the dequantised s q(x), shaped as x.
        x: what was quantised.
        step: the parameter, of either sign.
    """
    v = x / positive(step)
    inside = (v >= LEAST) & (v <= MOST)
    slope = v.round().clamp(LEAST, MOST) - v * inside
    by_step = (slope * upstream).sum() / math.sqrt(MOST * x.numel())
    return upstream * inside, by_step * (1 - 2 * (step < 0).to(step.dtype))
