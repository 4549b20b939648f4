"""A convolution network as data: steps that add up convolutions and end in an activation.

Both the plain and the secure forward pass walk these steps, and so do bounds and costs. A step is
what one linear layer of the secure program computes: a block's last convolution and its shortcut
are one step. Wires are numbered: 0 is the image, i the output of step i.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from veilform.masks import Spread, SumPool, Upsampled
from veilform.nn.convolution import Convolution
from veilform.nn.pool import Pool
from veilform.shapes import Abstract

Shape = tuple[int, ...]
Activation = Literal["relu", "relu6", "tanh", "none"]
Seen = tuple[SumPool | Upsampled | Spread, ...]


NORM = ("weight", "bias", "running_mean", "running_var")
"""A batch norm's tensors."""


def seen_shape(shape: tuple[int, int, int], views: Seen) -> tuple[int, int, int]:
    """Of an image through views."""
    x = Abstract(shape)
    for view in views:
        x = view.apply(x)
    height, width, channels = x.shape
    return height, width, channels


class Link(msgspec.Struct, frozen=True):
    """A 1 x 1 convolution of a sum of branches, as one branch has it.

    Attributes:
        name: of its tensors.
        biased: at one of the branches; its bias is added to the sum once.
    """

    name: str
    biased: bool


class Branch(msgspec.Struct, frozen=True):
    """One addend of a step: a wire, or its convolution.

    Attributes:
        source: the wire.
        conv: None for the wire itself.
        name: of the convolution's tensors.
        norm: of its batch norm's; "" if it has a bias in place of one.
        links: 1 x 1 convolutions behind it, which keep the number of channels. There is nothing
            between but what is linear, so all are one convolution.
        label: names its weights, where one convolution is in several branches.
        before, after: how the wire is seen by the convolution, and what that gives by the sum. A
            ``SumPool`` is an average here.
    """

    source: int
    conv: Convolution | None = None
    name: str = ""
    norm: str = ""
    links: tuple[Link, ...] = ()
    label: str = ""
    before: Seen = ()
    after: Seen = ()

    @property
    def weights(self) -> str:
        """The name of its weights."""
        return self.label or self.name

    @property
    def halvings(self) -> int:
        """Bits that its averages divide by."""
        pools = (view for view in (*self.before, *self.after) if isinstance(view, SumPool))
        return sum((pool.size**2 - 1).bit_length() for pool in pools)


class Step(msgspec.Struct, frozen=True):
    """activation(sum of branches), pooled by its maxima if there is a pool.

    Attributes:
        norm: name of a batch norm of the sum; "" if there is none.
    """

    name: str
    branches: tuple[Branch, ...]
    activation: Activation = "relu"
    pool: Pool | None = None
    norm: str = ""


class Network(msgspec.Struct, frozen=True):
    """Steps, then the mean over pixels and a dense layer.

    Attributes:
        image: height, width, channels.
        head: name of the dense layer's tensors. "": there is none; the answer is the last wire, an
            image that a hyperbolic tangent ends.
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
            last = len(shapes) == len(self.steps)
            if (step.activation == "tanh") != (last and not self.head):
                raise ValueError(f"{step.name} is a tangent in the middle, or ends without one")
            if step.norm and any(branch.conv is None for branch in step.branches):
                raise ValueError(f"{step.name} has a norm over a branch without a convolution")
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
        shape = seen_shape(shapes[branch.source], branch.before)
        if branch.conv is not None:
            height, width, channels = shape
            if channels != branch.conv.inputs:
                raise ValueError(
                    f"{branch.name} takes {branch.conv.inputs} channels, not {channels}"
                )
            shape = branch.conv.after(height), branch.conv.after(width), branch.conv.outputs
        return seen_shape(shape, branch.after)

    def convolutions(self) -> Iterator[tuple[Branch, Convolution, Shape]]:
        """Each branch that is one, with the shape that it sees."""
        shapes = self.wires()
        for step in self.steps:
            for branch in step.branches:
                if branch.conv is not None:
                    yield branch, branch.conv, seen_shape(shapes[branch.source], branch.before)

    def tensors(self) -> dict[str, Shape]:
        """Name and shape of each tensor of a checkpoint."""
        expected: dict[str, Shape] = {}
        for branch, conv, shape in self.convolutions():
            kernel = (conv.outputs, conv.inputs // conv.groups, conv.size, conv.size)
            expected[branch.name + ".weight"] = kernel
            if branch.norm:
                expected |= {f"{branch.norm}.{part}": (conv.outputs,) for part in NORM}
            else:
                expected[branch.name + ".bias"] = (conv.outputs,)
            width = seen_shape((shape[0], shape[1], conv.outputs), branch.after)[2]
            for link in branch.links:
                expected[link.name + ".weight"] = (width, width, 1, 1)
                expected[link.name + ".bias"] = (width,)
        for step, wire in zip(self.steps, self.wires()[1:], strict=True):
            if step.norm:
                expected |= {f"{step.norm}.{part}": (wire[2],) for part in NORM}
        if not self.head:
            return expected
        expected[self.head + ".weight"] = (self.classes, self.wires()[-1][2])
        expected[self.head + ".bias"] = (self.classes,)
        return expected
