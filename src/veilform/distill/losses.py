"""Distillation losses and the penalties that keep private-inference ranges small.

Hidden states and logits follow MPCFormer (arXiv 2211.01452, section 3.2), itself after TinyBERT
(arXiv 1909.10351): identity layer map, masked mean squared error after every layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from .student import BertMeanPoolForSequenceClassification


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


def logit_loss(student: torch.Tensor, teacher: torch.Tensor, heat: float = 2.0) -> torch.Tensor:
    """KL(teacher || student) of logits [B, C] at temperature ``heat``, times ``heat`` squared."""
    ours = nn.functional.log_softmax(student.float() / heat, dim=-1)
    theirs = nn.functional.log_softmax(teacher.float() / heat, dim=-1)
    return heat**2 * nn.functional.kl_div(ours, theirs, log_target=True, reduction="batchmean")


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


ROW_MEAN = Bounds(6.0, 300.0)
VARIANCE = Bounds(0.07, 30.0)


class RangeProbe:
    """Collects, per layer, mean (s + 5)^2 of each row and the variance of LayerNorm inputs.

    After a forward pass of a 2Quad model: ``row_means[l]`` is [B, H, T]; ``variances[name][l]`` is
    [B, T] for ``attention`` (after attention) and ``ffn`` (after the FFN).
    """

    def __init__(self, model: BertMeanPoolForSequenceClassification) -> None:
        self.row_means: list[torch.Tensor] = []
        self.variances: dict[str, list[torch.Tensor]] = {"attention": [], "ffn": []}
        self._hooks = []
        self._modules = []
        for layer in model.bert.encoder.layer:
            layer.attention.self.row_means = self.row_means
            self._modules.append(layer.attention.self)
            for name, norm in (
                ("attention", layer.attention.output.LayerNorm),
                ("ffn", layer.output.LayerNorm),
            ):
                self._hooks.append(norm.register_forward_pre_hook(self._taker(name)))

    def _taker(self, name: str):  # type: ignore[no-untyped-def]
        def take(_module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            self.variances[name].append(inputs[0].float().var(-1, unbiased=False))

        return take

    def clear(self) -> None:
        """Forget the last forward pass."""
        self.row_means.clear()
        for values in self.variances.values():
            values.clear()

    def remove(self) -> None:
        """Take the hooks off the model."""
        for hook in self._hooks:
            hook.remove()
        for module in self._modules:
            del module.row_means

    def penalty(self, mask: torch.Tensor) -> torch.Tensor:
        """Hinge penalties summed over tokens and layers, per text; ``mask`` is [B, T]."""
        valid = mask.bool()
        total = torch.zeros(())
        for means in self.row_means:
            total = total + ROW_MEAN.penalty(means.transpose(1, 2)[valid]).mean(-1).sum()
        for values in self.variances.values():
            for variance in values:
                total = total + VARIANCE.penalty(variance[valid]).sum()
        return total / mask.shape[0]
