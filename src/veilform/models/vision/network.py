"""A convolution network as data: steps that add up convolutions and end in an activation.

Both the plain and the secure forward pass walk these steps, and so do bounds and costs. A step is
what one linear layer of the secure program computes: a block's last convolution and its shortcut
are one step. Wires are numbered: 0 is the image, i the output of step i.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from veilform.nn.convolution import Convolution
from veilform.nn.pool import Pool

Shape = tuple[int, ...]
Activation = Literal["relu", "relu6", "none"]


class Branch(msgspec.Struct, frozen=True):
    """One addend of a step: a wire, or its convolution.

    Attributes:
        source: the wire.
        conv: None for the wire itself.
        name: of the convolution's tensors.
        norm: of its batch norm's; "" if it has a bias in place of one.
    """

    source: int
    conv: Convolution | None = None
    name: str = ""
    norm: str = ""


class Step(msgspec.Struct, frozen=True):
    """activation(sum of branches), pooled by its maxima if there is a pool."""

    name: str
    branches: tuple[Branch, ...]
    activation: Activation = "relu"
    pool: Pool | None = None


class Network(msgspec.Struct, frozen=True):
    """Steps, then the mean over pixels and a dense layer.

    Attributes:
        image: height, width, channels.
        head: name of the dense layer's tensors.
    """

    image: tuple[int, int, int]
    steps: tuple[Step, ...]
    head: str
    classes: int

    def wires(self) -> list[tuple[int, int, int]]:
        """Height, width, channels of each wire; the image's first.

        Raises:
            ValueError: branches do not fit together, or an image is too small for a window.
        """
        shapes = [self.image]
        for step in self.steps:
            found = {self._summed(shapes, branch) for branch in step.branches}
            if len(found) != 1 or min(shape := found.pop()) < 1:
                raise ValueError(f"the branches of {step.name} do not fit {shapes[0]} images")
            if step.pool:
                height, width = (step.pool.after(n) for n in shape[:2])
                if step.activation == "none" or min(height, width) < 1:
                    raise ValueError(f"{step.name} cannot be pooled")
                shape = (height, width, shape[2])
            shapes.append(shape)
        return shapes

    @staticmethod
    def _summed(shapes: list[tuple[int, int, int]], branch: Branch) -> tuple[int, int, int]:
        height, width, channels = shapes[branch.source]
        if branch.conv is None:
            return height, width, channels
        if channels != branch.conv.inputs:
            raise ValueError(f"{branch.name} takes {branch.conv.inputs} channels, not {channels}")
        return branch.conv.after(height), branch.conv.after(width), branch.conv.outputs

    def convolutions(self) -> Iterator[tuple[Branch, Convolution, Shape]]:
        """Each branch that is one, with the shape of its input."""
        shapes = self.wires()
        for step in self.steps:
            for branch in step.branches:
                if branch.conv is not None:
                    yield branch, branch.conv, shapes[branch.source]

    def tensors(self) -> dict[str, Shape]:
        """Name and shape of each tensor of a checkpoint."""
        expected: dict[str, Shape] = {}
        for branch, conv, _ in self.convolutions():
            kernel = (conv.outputs, conv.inputs // conv.groups, conv.size, conv.size)
            expected[branch.name + ".weight"] = kernel
            parts = ("weight", "bias", "running_mean", "running_var") if branch.norm else ("bias",)
            where = branch.norm or branch.name
            expected |= {f"{where}.{part}": (conv.outputs,) for part in parts}
        expected[self.head + ".weight"] = (self.classes, self.wires()[-1][2])
        expected[self.head + ".bias"] = (self.classes,)
        return expected
