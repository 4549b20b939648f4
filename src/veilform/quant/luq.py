"""Logarithmic unbiased quantisation of gradients to 4 bits, the baseline (arXiv 2112.10769).

A sign and seven powers of two: a gradient is 0 or +-step 2^i, i = 0..6, the largest being max |g|.
Below one step it is 0 or a step, between two powers one of them, at random with the gradient as the
expectation.
"""

from __future__ import annotations

import torch

LEVELS = 7
MOST = 1 << (LEVELS - 1)
_TINY = 1e-30


def quantise(gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """int8 integers (0 and +-powers of two up to 64), and the step."""
    step = (gradient.abs().max() / MOST).clamp_min(_TINY)
    size = (gradient / step).abs().clamp(max=MOST)
    lower = torch.exp2(size.clamp_min(1).log2().floor())
    # Between 0 and 1 the two neighbours are 0 and 1.
    lower = torch.where(size < 1, 0, lower)
    gap = lower.clamp_min(1)
    up = torch.rand_like(size) < (size - lower) / gap
    return (gradient.sign() * (lower + gap * up).clamp(max=MOST)).to(torch.int8), step
