"""The block-diagonal normalised Hadamard transform, and the size of its blocks.

Rotating activations and weights alike leaves their product as it is and spreads an outlier over its
block, so that a 4-bit step need not cover it. Source: arXiv 2306.11987, 4.2.
"""

from __future__ import annotations

import functools

import torch

from veilform.errors import InputError
from veilform.quant.lsq import initial_step
from veilform.quant.policy import MOST_GROUP

_MOST_INNER = 64


def groups(size: int) -> list[int]:
    """Powers of two from 2 to 1024 that divide ``size``.

    Raises:
        InputError: there is none.
    """
    found = [1 << i for i in range(1, MOST_GROUP.bit_length()) if size % (1 << i) == 0]
    if not found:
        raise InputError(f"no power of two above 1 divides the dimension {size}: name this layer "
                         "in the policy, with a method without Hadamard blocks")  # fmt: skip
    return found


def transform(x: torch.Tensor, group: int) -> torch.Tensor:
    """x H along the last axis, for blocks of ``group``; H is symmetric and its own inverse.

    A block's matrix is a Kronecker product of two, so that it costs at most 64 + 16 multiply-adds
    an element and two passes through memory: adding and subtracting takes log2(group) passes.
    Group 1 is no transform.
    """
    if group == 1:
        return x
    outer = max(1, group // _MOST_INNER)
    inner = group // outer
    turned = x.reshape(-1, inner) @ matrix(inner).to(x)
    if outer > 1:
        turned = matrix(outer).to(x) @ turned.reshape(-1, outer, inner)
    return turned.reshape(x.shape)


@functools.cache
def matrix(size: int) -> torch.Tensor:
    """H of one block, float64 (size, size): Sylvester's, over sqrt(size)."""
    turned = torch.ones(1, 1, dtype=torch.float64)
    while len(turned) < size:
        above, below = torch.cat((turned, turned), 1), torch.cat((turned, -turned), 1)
        turned = torch.cat((above, below))
    return turned * size**-0.5


def choose(x: torch.Tensor, w: torch.Tensor) -> int:
    """The block size with the smallest product of the two relative errors at 4 bits."""
    return min(groups(x.shape[-1]), key=lambda g: _error(x, g) * _error(w, g))


def _error(x: torch.Tensor, group: int) -> float:
    turned = transform(x, group)
    step = initial_step(turned)
    rounded = (turned / step).round().clamp(-8, 7) * step
    return float((rounded - turned).square().sum() / turned.square().sum().clamp_min(1e-30))
