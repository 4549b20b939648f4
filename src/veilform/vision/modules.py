"""A network of ``models.vision`` as a PyTorch module, with torchvision's names of tensors.

It computes what ``models.vision.plain`` computes, on images (B, C, H, W) as PyTorch has them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from veilform.models.vision.network import Branch, Network, Step
from veilform.models.vision.plain import BATCH_NORM_EPSILON, RELU6

MOMENTUM = 0.1
HEAD_DEVIATION = 0.01


class ImageNetwork(nn.Module):
    """Its state dict is that of torchvision's model of the same family and sizes.

    Args:
        caps: by step, where its ReLU is clipped; steps without an entry are not.
    """

    def __init__(self, network: Network, caps: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.network, self.caps = network, dict(caps or {})
        for branch, conv, _ in network.convolutions():
            layer = nn.Conv2d(
                conv.inputs, conv.outputs, conv.size, conv.stride, conv.padding,
                groups=conv.groups, bias=not branch.norm,
            )  # fmt: skip
            nn.init.kaiming_normal_(layer.weight, mode="fan_out")
            _put(self, branch.name, layer)
            if branch.norm:
                norm = nn.BatchNorm2d(conv.outputs, BATCH_NORM_EPSILON, MOMENTUM)
                _put(self, branch.norm, norm)
        head = nn.Linear(network.wires()[-1][2], network.classes)
        nn.init.normal_(head.weight, 0, HEAD_DEVIATION)
        nn.init.zeros_(head.bias)
        _put(self, network.head, head)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes)."""
        wires = [images]
        for step in self.network.steps:
            total = self.summed(step, wires)
            wires.append(self.pooled(step, self.activated(step, total)))
        return self.get_submodule(self.network.head)(wires[-1].mean((2, 3)))

    def summed(self, step: Step, wires: list[Tensor]) -> Tensor:
        """The sum of a step's branches, before its activation."""
        parts = [self.branch(branch, wires[branch.source]) for branch in step.branches]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    def branch(self, branch: Branch, x: Tensor) -> Tensor:
        """One branch: the wire itself, or its convolution and batch norm."""
        if branch.conv is None:
            return x
        layer, conv = self.get_submodule(branch.name), branch.conv
        # The step's padding, not the layer's: a pruned block is padded before its first layer.
        x = nn.functional.conv2d(
            x, layer.weight, layer.bias, conv.stride, conv.padding, 1, conv.groups
        )
        return self.get_submodule(branch.norm)(x) if branch.norm else x

    def activated(self, step: Step, x: Tensor) -> Tensor:
        """A step's activation, clipped as it is served."""
        if step.activation == "none":
            return x
        if step.activation == "relu6":
            return nn.functional.hardtanh(x, 0.0, RELU6)
        cap = self.caps.get(step.name)
        return nn.functional.relu(x) if cap is None else x.clamp(0.0, cap)

    @staticmethod
    def pooled(step: Step, x: Tensor) -> Tensor:
        """A step's max pool, if it has one."""
        if step.pool is None:
            return x
        return nn.functional.max_pool2d(x, step.pool.size, step.pool.stride, step.pool.padding)

    def load_arrays(self, tensors: Mapping[str, NDArray[np.floating]]) -> None:
        """Take the tensors of a checkpoint; its counters of batches may be missing."""
        state = {name: torch.from_numpy(np.asarray(value)) for name, value in tensors.items()}
        found = self.load_state_dict(state, strict=False)
        missing = [name for name in found.missing_keys if not name.endswith("batches_tracked")]
        if missing or found.unexpected_keys:
            raise ValueError(f"missing {missing}, unexpected {found.unexpected_keys}")

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """The tensors of a checkpoint of this network, as ``Network.tensors`` names them."""
        state = self.state_dict()
        return {
            name: state[name].detach().float().numpy().copy() for name in self.network.tensors()
        }


def _put(root: nn.Module, name: str, layer: nn.Module) -> None:
    """Add a layer under a dotted name, with the modules on the way there."""
    *path, last = name.split(".")
    for part in path:
        if part not in dict(root.named_children()):
            root.add_module(part, nn.Module())
        root = getattr(root, part)
    root.add_module(last, layer)
