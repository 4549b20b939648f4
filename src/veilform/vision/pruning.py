"""Which blocks keep their inner activations: a search by gradients and exact costs.

Each inverted residual block has one slope, shared by its inner activations. In each step the blocks
of the largest slopes keep theirs, up to the wanted share; the others' become the identity. The
slopes learn through that choice as if it were not one (straight through), and pay for the bytes
that merging their block would save. Source: CoPriv, arXiv 2311.01737, section 4.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from veilform.drive.trace import Trace, trace
from veilform.errors import InputError
from veilform.models.vision.config import MobileNetV2
from veilform.models.vision.merging import merge, with_merged
from veilform.models.vision.plain import RELU6, Tensors
from veilform.models.vision.scaling import plan
from veilform.models.vision.secure import SecureNetwork
from veilform.vision.modules import ImageNetwork


def foreseen(family: MobileNetV2, tensors: Tensors, largest: float) -> Trace:
    """The trace of one image, convolutions direct.

    Args:
        tensors: of ``family.unmerged()``.
        largest: no entry of an image is larger in absolute value.
    """
    network = family.network()
    scales = plan(network, merge(family, tensors), {}, largest)
    return trace(SecureNetwork(network, scales).abstract)


def saved_shares(family: MobileNetV2, tensors: Tensors, largest: float) -> dict[int, float]:
    """By block, the share of an image's online bytes that merging it alone saves, both ways.

    Exact, from traces with these weights: a block's inner activations and opening, less the one
    activation that takes their place.
    """

    def online(merged: set[int]) -> int:
        return foreseen(with_merged(family, merged), tensors, largest).total.online_bytes

    whole = online(set())
    return {block.number: 1 - online({block.number}) / whole for block in family.blocks()}


def inner_activations(family: MobileNetV2) -> dict[int, int]:
    """By block, how many inner activations an image has there."""
    network = with_merged(family, set()).network()
    shapes = dict(zip((s.name for s in network.steps), network.wires()[1:], strict=True))
    return {
        block.number: sum(
            math.prod(shapes[name])
            for part in ("up", "depthwise")
            if (name := f"{block.name}.{part}") in shapes
        )
        for block in family.blocks()
    }


def chosen(
    slopes: Mapping[int, float], counts: Mapping[int, int], saved: Mapping[int, float], keep: float
) -> set[int]:
    """The blocks that keep their activations: largest slopes first, while the share allows it.

    A block that is too large for what is left is passed over. Of equal slopes, the block that
    costs less goes first.
    """
    left, kept = keep * sum(counts.values()) * (1 + 1e-12), set[int]()
    for index in sorted(slopes, key=lambda i: (-slopes[i], saved[i], i)):
        if counts[index] <= left:
            kept.add(index)
            left -= counts[index]
    return kept


class _Gate(torch.autograd.Function):
    """ReLU6 if kept, else the identity; d/d slope = ReLU6(x) - x either way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor, kept: bool) -> Tensor:
        ctx.save_for_backward(x)
        ctx.kept = kept
        return x.clamp(0.0, RELU6) if kept else x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        (x,), grad = ctx.saved_tensors, grads[0]
        active = x.clamp(0.0, RELU6)
        by_slope = (grad * (active - x)).sum()
        return (grad * (active == x) if ctx.kept else grad), by_slope, None


class Search(ImageNetwork):
    """A network that learns which blocks need their activations.

    Args:
        tensors: trained, of the network without merged blocks.
        largest: no entry of an image is larger in absolute value.
        keep: share of the inner activations that stays.
        weight: of the penalty, which is the sum over blocks of slope times share of bytes saved.
        slope_lr: learning rate of the slopes.
    """

    def __init__(
        self,
        family: MobileNetV2,
        tensors: Tensors,
        largest: float,
        keep: float,
        weight: float,
        slope_lr: float,
    ) -> None:
        family = with_merged(family, set())
        super().__init__(family.network())
        self.load_arrays(tensors)
        self.counts = inner_activations(family)
        self.saved = saved_shares(family, tensors, largest)
        self.keep, self.weight, self.slope_lr = keep, weight, slope_lr
        pruned = with_merged(family, set(self.counts)).unmerged()
        self._pruned = {step.name: step for step in pruned.steps}
        self._block_of = {
            f"{block.name}.{part}": block.number
            for block in family.blocks()
            for part in ("up", "depthwise", "down")
        }
        self.slopes = nn.Parameter(torch.ones(len(self.counts)))
        self.register_buffer("shares", torch.tensor([self.saved[i] for i in self.counts]))

    def kept(self) -> set[int]:
        """The blocks that keep their activations now."""
        by_block = dict(zip(self.counts, self.slopes.detach().tolist(), strict=True))
        return chosen(by_block, self.counts, self.saved, self.keep)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, with this moment's choice."""
        kept, at = self.kept(), {index: i for i, index in enumerate(self.counts)}
        wires = [images]
        for step in self.network.steps:
            index = self._block_of.get(step.name)
            if index is None:
                wires.append(self.activated(step, self.summed(step, wires)))
                continue
            stays = index in kept
            total = self.summed(step if stays else self._pruned[step.name], wires)
            if step.activation != "none":
                total = _Gate.apply(total, self.slopes[at[index]], stays)
            wires.append(total)
        return self.get_submodule(self.network.head)(wires[-1].mean((2, 3)))

    def penalty(self) -> Tensor:
        """What the slopes pay for the bytes that their blocks cost."""
        return self.weight * (self.shares * self.slopes).sum()

    def groups(self, lr: float) -> list[dict[str, Any]]:
        """Weights as in any training; slopes at their own rate, without decay."""
        weights = [p for name, p in self.named_parameters() if name != "slopes"]
        slopes = {"params": [self.slopes], "lr": self.slope_lr, "weight_decay": 0.0}
        return [{"params": weights, "lr": lr}, slopes]

    @property
    def result(self) -> dict[str, Any]:
        """Slopes, counts, bytes and the choice, for a log."""
        slopes = self.slopes.detach().tolist()
        return {
            "slopes": {i: round(s, 5) for i, s in zip(self.counts, slopes, strict=True)},
            "activations": self.counts,
            "bytes_saved": {i: round(share, 5) for i, share in self.saved.items()},
            "kept": sorted(self.kept()),
            "share_kept": round(
                sum(self.counts[i] for i in self.kept()) / sum(self.counts.values()), 5
            ),
        }


def check_keep(keep: float) -> None:
    """Raises InputError unless it is a share."""
    if not 0 <= keep <= 1:
        raise InputError(f"keep {keep:g} is no share of activations: give one from 0 to 1")
