"""Forward and backward of one linear layer, by the methods of ``policy.METHODS``.

For x (N, K), w (M, K) and gradients (N, M). The backward product of a kind of gradient:

    lsq, hq     float32 gradient by the forward's integers
    lsq+luq     4-bit powers of two
    hq+bs       two rows of 4 bits for each row
    hq+lss      half of these rows on average
    int8        8-bit integers, rounded stochastically
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from veilform.quant import luq, sampling
from veilform.quant.products import product
from veilform.quant.splitting import HIGH, MOST, split, stochastic_round

FOUR, EIGHT = 8, 127
_TINY = 1e-30


class Integers(NamedTuple):
    """A quantised operand: int8 ``q`` with x = step q, and a bound on |q|."""

    q: torch.Tensor
    step: torch.Tensor
    most: int


def eight_bits(x: torch.Tensor, stochastic: bool = False) -> Integers:
    """Symmetric 8-bit integers; the step is max |x| / 127."""
    step = (x.detach().abs().max() / EIGHT).clamp_min(_TINY)
    rounded = stochastic_round(x / step) if stochastic else (x / step).round()
    return Integers(rounded.clamp(-EIGHT, EIGHT).to(torch.int8), step, EIGHT)


def by_exact(
    g: torch.Tensor, x: Integers, w: Integers, needs: tuple[bool, bool]
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Gradients by x and w of y = x w^T, with the gradient as it is."""
    by_x = g @ w.q.float() * w.step if needs[0] else None
    by_w = g.t() @ x.q.float() * x.step if needs[1] else None
    return by_x, by_w


def by_integers(
    g: Integers, x: Integers, w: Integers, needs: tuple[bool, bool]
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """The same for a quantised gradient: integer products."""
    by_x = by_w = None
    if needs[0]:
        by_x = product(g.q, w.q.t(), g.most * w.most) * (g.step * w.step)
    if needs[1]:
        by_w = product(g.q.t(), x.q.t(), g.most * x.most) * (g.step * x.step)
    return by_x, by_w


def by_split(
    g: torch.Tensor, x: Integers, w: Integers, needs: tuple[bool, bool]
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Bit splitting, every row kept: carried as 16 high + low, which 8 bits hold."""
    parts = split(g)
    whole = HIGH * parts.high + parts.low
    return by_integers(Integers(whole, parts.step, MOST), x, w, needs)


def by_sampling(
    g: torch.Tensor, x: Integers, w: Integers, needs: tuple[bool, bool], keep: float
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Bit splitting, and each product over a sample of the 2N rows.

    The input gradient's factors 1 / p multiply rows of the result. The weight gradient's lie on its
    inner axis, so they go into the gradient's rows, and that product is one of floats.
    """
    parts, count = split(g), len(g)
    rows = torch.cat((parts.high, parts.low))
    scale = torch.cat(((HIGH * parts.step).repeat(count), parts.step.repeat(count)))
    norms = rows.float().norm(dim=1) * scale
    expected = 2 * count * keep
    by_x = by_w = None
    if needs[0]:
        kept = sampling.sample(norms, expected)
        part = product(rows[kept.rows], w.q.t(), FOUR * w.most)
        part *= (kept.factors * scale[kept.rows] * w.step)[:, None]
        by_x = torch.zeros(x.q.shape, device=g.device).index_add_(0, kept.rows % count, part)
    if needs[1]:
        sizes = x.q.float().norm(dim=1).repeat(2)
        kept = sampling.sample(norms * sizes, expected)
        weighted = rows[kept.rows] * (kept.factors * scale[kept.rows] * x.step)[:, None]
        by_w = weighted.t() @ x.q[kept.rows % count].float()
    return by_x, by_w


def backward(
    method: str, g: torch.Tensor, x: Integers, w: Integers, needs: tuple[bool, bool], keep: float
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Gradients by the dequantised operands, as ``method`` computes them."""
    if method == "int8":
        return by_integers(eight_bits(g, stochastic=True), x, w, needs)
    if method == "lsq+luq":
        q, step = luq.quantise(g)
        return by_integers(Integers(q, step, luq.MOST), x, w, needs)
    if method == "hq+bs":
        return by_split(g, x, w, needs)
    if method == "hq+lss":
        return by_sampling(g, x, w, needs, keep)
    return by_exact(g, x, w, needs)
