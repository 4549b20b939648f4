"""Leverage-score sampling: fewer rows of a product, with the same expectation.

A product of matrices is a sum over rows, sum_i g_i^T x_i. Row i is kept with a probability p_i that
grows with its norm and divided by it. Source: arXiv 2306.11987, 4.2 and appendix.
"""

from __future__ import annotations

from typing import NamedTuple

import torch


class Sample(NamedTuple):
    """Rows that are kept, ascending, and the factor 1 / p of each."""

    rows: torch.Tensor
    factors: torch.Tensor


def probabilities(scores: torch.Tensor, expected: float) -> torch.Tensor:
    """p_i = min(1, c s_i) with sum p = ``expected``, or as close as scores of zero allow.

    Water-filling: scores, sorted, that would pass 1 are set to 1, and the others share the rest.
    """
    ordered, order = scores.double().sort(descending=True)
    count = len(ordered)
    expected = min(expected, float(count))
    # If the first i are full, the others have c = (expected - i) / (their sum).
    rest = ordered.flip(0).cumsum(0).flip(0)
    left = expected - torch.arange(count, device=scores.device, dtype=torch.float64)
    scale = torch.where(rest > 0, left.clamp_min(0) / rest.clamp_min(1e-300), torch.inf)
    full = (scale * ordered >= 1).long().cumprod(0).bool()
    i = int(full.sum())
    filled = torch.ones(count, dtype=torch.float64, device=scores.device)
    if i < count:
        filled[i:] = torch.nan_to_num(scale[i] * ordered[i:], nan=0.0, posinf=0.0).clamp(0, 1)
    p = torch.empty_like(filled)
    p[order] = torch.where(ordered > 0, filled, 0)
    return p.to(scores.dtype)


def sample(scores: torch.Tensor, expected: float) -> Sample:
    """Keep each row independently, by its probability; rows with no score are dropped."""
    p = probabilities(scores, expected)
    rows = (torch.rand_like(p) < p).nonzero().squeeze(1)
    return Sample(rows, 1 / p[rows])
