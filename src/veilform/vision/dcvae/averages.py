"""Moving averages of networks."""

from __future__ import annotations

import torch
from torch import nn


def decay_at(step: int, decay: float) -> float:
    """``decay``, or less in the first steps: what an average holds of its start has to leave it."""
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def average_parameters(target: nn.Module, source: nn.Module, decay: float) -> None:
    """Moves each parameter of ``target`` towards that of ``source`` by 1 - decay."""
    for mine, theirs in zip(target.parameters(), source.parameters(), strict=True):
        mine.lerp_(theirs, 1 - decay)


@torch.no_grad()
def average_all(target: nn.Module, source: nn.Module, decay: float) -> None:
    """That, and each buffer: batch norm's statistics belong to the weights that made them.

    What has no fractions, such as a count of batches, is copied.
    """
    average_parameters(target, source, decay)
    for mine, theirs in zip(target.buffers(), source.buffers(), strict=True):
        if mine.is_floating_point():
            mine.lerp_(theirs, 1 - decay)
        else:
            mine.copy_(theirs)
