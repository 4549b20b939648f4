"""What happens inside a model during a forward pass: scores of attention, spread before norms.

From both, the penalty that keeps a student inside the ranges that private inference is calibrated
for: denominators of attention functions that divide, and the variance that a layer norm inverts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn

from veilform.distill.anatomy import LayerParts
from veilform.distill.losses import Bounds

VARIANCE = Bounds(0.07, 30.0)
WITHIN = 0.9
"""Scores are kept within so much of their function's domain, as other texts may go further."""


class Watch:
    """Collects the scores and variances of these layers, one forward pass after the other.

    After a pass, ``scores[l]`` is [B, H, T, T], ``attention_variances[l]`` and
    ``ffn_variances[l]`` are [B, T], float32, with their gradients.
    """

    def __init__(self, parts: Sequence[LayerParts]) -> None:
        self.scores: list[torch.Tensor] = []
        self.attention_variances: list[torch.Tensor] = []
        self.ffn_variances: list[torch.Tensor] = []
        self._parts = list(parts)
        self._hooks = []
        for parts in self._parts:
            parts.attention.watcher = self.scores.append
            for norm, store in (
                (parts.attention_norm, self.attention_variances),
                (parts.ffn_norm, self.ffn_variances),
            ):
                self._hooks.append(norm.register_forward_pre_hook(_taker(store)))

    def clear(self) -> None:
        """Forget the last forward pass."""
        for store in (self.scores, self.attention_variances, self.ffn_variances):
            store.clear()

    def remove(self) -> None:
        """Stop watching."""
        self.clear()
        for hook in self._hooks:
            hook.remove()
        for parts in self._parts:
            del parts.attention.watcher

    def row_means(self, mask: torch.Tensor) -> list[torch.Tensor | None]:
        """Per layer, the mean of a row's numerators, [B, H, T]; None where no range is wanted."""
        found: list[torch.Tensor | None] = []
        keys = mask[:, None, None, :].float()
        for parts, scores in zip(self._parts, self.scores, strict=True):
            entry = parts.attention.attention_entry
            if entry.wanted is None or entry.numerators is None:
                found.append(None)
            else:
                found.append((entry.numerators(scores, keys) * keys).sum(-1) / keys.sum(-1))
        return found

    def penalty(self, mask: torch.Tensor) -> torch.Tensor:
        """Hinge penalties summed over tokens and layers, per text; ``mask`` is [B, T]."""
        every = torch.ones(len(mask), dtype=torch.bool, device=mask.device)
        total = self.score_penalty(mask, every) + self.variance_penalty(mask.bool())
        return total / len(mask)

    def score_penalty(self, mask: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """That of the scores, over the texts that ``rows`` [B] says: a mean over heads."""
        valid = mask.bool() & rows[:, None]
        total = torch.zeros((), device=mask.device)
        for parts, means, scores in zip(
            self._parts, self.row_means(mask), self.scores, strict=True
        ):
            entry = parts.attention.attention_entry
            if means is not None and entry.wanted is not None:
                bounds = Bounds(*entry.wanted)
                total = total + bounds.penalty(means.transpose(1, 2)[valid]).mean(-1).sum()
            if math.isfinite(entry.domain):
                # Padding is computed under secure computation too, and must stay in the domain.
                beyond = torch.relu(scores[rows].abs() - WITHIN * entry.domain)
                total = total + beyond.square().sum(-1).mean(1).sum()
        return total

    def variance_penalty(self, valid: torch.Tensor) -> torch.Tensor:
        """That of the variances before norms, over tokens [B, T] that are ``valid``."""
        total = torch.zeros((), device=valid.device)
        for variance in (*self.attention_variances, *self.ffn_variances):
            total = total + VARIANCE.penalty(variance[valid]).sum()
        return total


def _taker(store: list[torch.Tensor]) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
    def take(_module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        store.append(inputs[0].float().var(-1, unbiased=False))

    return take
