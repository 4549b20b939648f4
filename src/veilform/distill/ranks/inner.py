"""Losses inside a part of the model: of layers, of attention scores, of ranges.

The pipeline's schedule knows the loss of the last part's output only. These are added where they
arise: the part's output passes through an identity whose backward pass starts theirs too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from veilform.distill.anatomy import layer
from veilform.distill.trainer import Weights
from veilform.distill.watch import Watch


@dataclass(frozen=True)
class Seen:
    """One micro-batch inside a part.

    Attributes:
        hidden: [b, T, D] of each layer; in the first part of the embeddings before.
        scores: [b, h, T, T] of each layer, of this rank's heads.
    """

    hidden: list[torch.Tensor]
    scores: list[torch.Tensor]


class Probe:
    """Collects what a part's modules compute, until ``take`` or ``clear``."""

    def __init__(self, blocks: Sequence[nn.Module], embeddings: nn.Module | None) -> None:
        self.hidden: list[torch.Tensor] = []
        self.watch = Watch([layer(block) for block in blocks])
        for module in (*([] if embeddings is None else [embeddings]), *blocks):
            module.register_forward_hook(_keeper(self.hidden))

    def clear(self) -> None:
        """Forget the last forward pass."""
        self.hidden.clear()
        self.watch.clear()

    def take(self) -> Seen:
        """The last forward pass, which is then forgotten."""
        seen = Seen(list(self.hidden), list(self.watch.scores))
        self.clear()
        return seen


class Recorder:
    """Follows a teacher's part: keeps what it saw while ``seen`` is a list."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.seen: list[Seen] | None = None

    def __call__(self, output: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if self.seen is None:
            self.probe.clear()
        else:
            self.seen.append(self.probe.take())
        return output


@dataclass(frozen=True)
class Batch:
    """What the shares of one whole batch are relative to.

    Attributes:
        rows: [n], the rows that this replica computes; those from ``count`` on only fill up.
        count, pairs: texts, and pairs of tokens that attend to each other.
        wanted: what the teacher's part saw, one a micro-batch.
        power: of each of its hidden states, over the batch.
    """

    rows: torch.Tensor
    count: int
    pairs: float
    wanted: Sequence[Seen]
    power: torch.Tensor


class InnerLosses:
    """Follows a student's part: each micro-batch adds its share of the batch's losses."""

    def __init__(
        self, probe: Probe, weights: Weights, first: bool, layers: int, heads: int, shards: int
    ) -> None:
        self.probe, self.weights, self.first = probe, weights, first
        self.layers, self.heads, self.shards = layers, heads, shards

    def start(self, batch: Batch) -> None:
        """The next forward passes are the micro-batches of this batch, in order."""
        self.batch, self.index = batch, 0
        self.same = torch.zeros((), dtype=torch.float64, device=batch.rows.device)
        self.own = torch.zeros_like(self.same)

    def __call__(self, output: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """``output`` as it is, with this micro-batch's losses behind it."""
        if torch.is_grad_enabled():
            start = self.index * len(mask)
            real = self.batch.rows[start : start + len(mask)] < self.batch.count
            same, own = self._shared(mask, real), self._own(mask, real)
            self.same += same.detach()
            self.own += own.detach()
            if (same + own).requires_grad:
                output = _Beside.apply(output, same + own)
            self.index += 1
        self.probe.clear()
        return output

    def _shared(self, mask: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """What all shards of a layer compute alike: hidden states, variances before norms."""
        loss = torch.zeros((), device=mask.device)
        weights, valid = self.weights, mask.bool() & real[:, None]
        if weights.hidden or weights.embedding:
            wanted = self.batch.wanted[self.index].hidden
            factors = [weights.hidden / self.layers] * len(wanted)
            if self.first:
                factors[0] = weights.embedding
            for ours, theirs, power, factor in zip(
                self.probe.hidden, wanted, self.batch.power, factors, strict=True
            ):
                error = (ours[valid].float() - theirs[valid].float()).square().sum()
                loss = loss + factor * error / power.float()
        if weights.ranges:
            loss = loss + weights.ranges * self.probe.watch.variance_penalty(valid) / (
                self.batch.count
            )
        return loss

    def _own(self, mask: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """What each shard computes of its heads: the shards' losses add up."""
        loss = torch.zeros((), device=mask.device)
        weights, watch = self.weights, self.probe.watch
        if weights.attention:
            known = mask * real[:, None]
            valid = (known[:, None, :, None] * known[:, None, None, :]).float()
            scale = weights.attention / (self.batch.pairs * self.heads * self.layers)
            for ours, theirs in zip(
                watch.scores, self.batch.wanted[self.index].scores, strict=True
            ):
                loss = loss + scale * ((ours - theirs).square() * valid).sum()
        if weights.ranges:
            scale = weights.ranges / (self.batch.count * self.shards)
            loss = loss + scale * watch.score_penalty(mask, real)
        return loss


def power(seen: Sequence[Seen], valid: torch.Tensor) -> torch.Tensor:
    """Sum of squares of each hidden state over the micro-batches' valid tokens, float64.

    ``valid`` [n, T] is of all their rows.
    """
    parts = valid.split(len(valid) // len(seen))
    return torch.stack([
        torch.stack([hidden[part].double().square().sum() for hidden in one.hidden])
        for one, part in zip(seen, parts, strict=True)
    ]).sum(0)  # fmt: skip


class _Beside(torch.autograd.Function):
    """The identity on an output; in the backward pass a loss beside it gets its gradient, one."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: torch.autograd.function.FunctionCtx, output: torch.Tensor, loss: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(torch.ones_like(loss))
        return output.view_as(output)

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: torch.autograd.function.FunctionCtx, gradient: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        (one,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return gradient, one


def _keeper(store: list[torch.Tensor]) -> Callable[..., None]:
    def keep(_module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        store.append(output)

    return keep
