"""Distillation losses and the penalties that keep private-inference ranges small.

Hidden states, attention scores and logits follow MPCFormer (arXiv 2211.01452, section 3.2), itself
after TinyBERT (arXiv 1909.10351): identity layer map, squared error on valid tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn


def hidden_loss(
    student: Sequence[torch.Tensor], teacher: Sequence[torch.Tensor], mask: torch.Tensor
) -> torch.Tensor:
    """Mean over layers of the squared error on valid tokens over the teacher's power.

    ``student`` and ``teacher`` hold one [B, T, D] tensor per layer; ``mask`` is [B, T].
    """
    valid = mask.bool()
    terms = []
    for ours, theirs in zip(student, teacher, strict=True):
        target = theirs[valid].float()
        terms.append((ours[valid].float() - target).square().mean() / target.square().mean())
    return torch.stack(terms).mean()


def attention_loss(
    student: Sequence[torch.Tensor], teacher: Sequence[torch.Tensor], mask: torch.Tensor
) -> torch.Tensor:
    """Mean over layers of the squared error of the scores [B, H, T, T] between valid tokens."""
    valid = (mask[:, None, :, None] * mask[:, None, None, :]).float()
    terms = []
    for ours, theirs in zip(student, teacher, strict=True):
        count = valid.sum() * ours.shape[1]
        terms.append(((ours - theirs).square() * valid).sum() / count)
    return torch.stack(terms).mean()


def logit_loss(student: torch.Tensor, teacher: torch.Tensor, heat: float = 2.0) -> torch.Tensor:
    """KL(teacher || student) of logits [B, C] at temperature ``heat``, times ``heat`` squared.

    With one output (regression) it is the mean squared error.
    """
    student, teacher = student.float(), teacher.float()
    if student.shape[-1] == 1:
        return nn.functional.mse_loss(student, teacher)
    ours = nn.functional.log_softmax(student / heat, dim=-1)
    theirs = nn.functional.log_softmax(teacher / heat, dim=-1)
    return heat**2 * nn.functional.kl_div(ours, theirs, log_target=True, reduction="batchmean")


def label_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy, or the mean squared error with one output; rows labelled -100 do not count."""
    logits = logits.float()
    if logits.shape[-1] == 1:
        return nn.functional.mse_loss(logits.squeeze(-1), labels.float())
    if bool((labels == -100).all()):
        return logits.sum() * 0.0
    return nn.functional.cross_entropy(logits, labels, ignore_index=-100)


@dataclass(frozen=True)
class Bounds:
    """Wanted interval of a positive quantity."""

    low: float
    high: float

    def penalty(self, value: torch.Tensor) -> torch.Tensor:
        """Squared distance of log ``value`` from the interval, element by element."""
        log = value.clamp_min(1e-6).log()
        above = torch.relu(log - torch.tensor(self.high).log())
        below = torch.relu(torch.tensor(self.low).log() - log)
        return above.square() + below.square()
