"""The families of convolution networks, and their steps, with torchvision's names of tensors.

Sources: He et al., CVPR 2016 (ResNet); Sandler et al., CVPR 2018 (MobileNetV2); its merged blocks:
CoPriv, arXiv 2311.01737.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple

import msgspec

from veilform.errors import ModelError
from veilform.models import checkpoint
from veilform.models.vision.generative import Decoder, Encoder
from veilform.models.vision.network import Activation, Branch, Network, Step
from veilform.nn.convolution import Convolution
from veilform.nn.pool import Pool

Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 14)]
Counts = Annotated[tuple[Count, ...], msgspec.Meta(min_length=1, max_length=64)]
Setting = tuple[Count, Count, Count, Annotated[int, msgspec.Meta(ge=1, le=2)]]


class _Images(msgspec.Struct, frozen=True):
    """What every family is told of images and answers.

    Attributes:
        height, width, channels: of an image.
        classes: how many answers.
    """

    height: Count
    width: Count
    channels: Count = 3
    classes: Count = 1000

    largest: ClassVar[float | None] = None


class ResNet(_Images, frozen=True, tag_field="family", tag="resnet"):
    """Basic blocks of two 3 x 3 convolutions; the first of each stage but the first halves images.

    Attributes:
        depths, widths: blocks and channels of each stage.
        small: a 3 x 3 stem without a pool, for images of some 32 pixels, in place of a 7 x 7 one.
    """

    depths: Counts = (2, 2, 2, 2)
    widths: Counts = (64, 128, 256, 512)
    small: bool = False

    def network(self) -> Network:
        """Its steps."""
        width = self.widths[0]
        size, stride, padding = (3, 1, 1) if self.small else (7, 2, 3)
        stem = Convolution(self.channels, width, size, stride, padding)
        pool = None if self.small else Pool(3, 2, 1)
        steps = [Step("stem", (Branch(0, stem, "conv1", "bn1"),), pool=pool)]
        channels = width
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True), 1):
            for block in range(depth):
                name, before = f"layer{stage}.{block}", len(steps)
                stride = 2 if stage > 1 and block == 0 else 1
                one = Convolution(channels, width, 3, stride)
                two = Convolution(width, width)
                shortcut = Branch(before)
                if stride > 1 or channels != width:
                    by = Convolution(channels, width, 1, stride, 0)
                    shortcut = Branch(before, by, f"{name}.downsample.0", f"{name}.downsample.1")
                first = Branch(before, one, f"{name}.conv1", f"{name}.bn1")
                last = Branch(before + 1, two, f"{name}.conv2", f"{name}.bn2")
                steps.append(Step(f"{name}.1", (first,)))
                steps.append(Step(f"{name}.2", (last, shortcut)))
                channels = width
        return Network(_size(self), tuple(steps), "fc", self.classes)


class Block(NamedTuple):
    """An inverted residual block: from ``channels`` to ``width``, ``grown`` times as many inside.

    Attributes:
        number: N of ``features.N``.
    """

    number: int
    channels: int
    width: int
    grown: int
    stride: int

    @property
    def name(self) -> str:
        """Of its tensors, and the start of its steps' names."""
        return f"features.{self.number}"

    @property
    def residual(self) -> bool:
        """Whether its input is added to its output."""
        return self.stride == 1 and self.channels == self.width


Form = Literal["whole", "linear", "merged"]
"""A block with its activations; without inner ones, as it is trained; as one convolution."""


class MobileNetV2(_Images, frozen=True, tag_field="family", tag="mobilenet_v2"):
    """Inverted residual blocks: 1 x 1 up, 3 x 3 depthwise, 1 x 1 down without an activation.

    A merged block has no inner activations, so it is one 3 x 3 convolution, with ReLU6 behind it.

    Attributes:
        settings: for each stage, how many times channels grow inside, channels, blocks, stride.
        stem, stem_stride: of the first convolution.
        last: channels before the head.
        merged: the numbers of the merged blocks, as in ``features.N``, in order.
    """

    settings: Annotated[tuple[Setting, ...], msgspec.Meta(min_length=1, max_length=64)] = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    stem: Count = 32
    stem_stride: Annotated[int, msgspec.Meta(ge=1, le=2)] = 2
    last: Count = 1280
    merged: Annotated[tuple[Count, ...], msgspec.Meta(max_length=1 << 10)] = ()

    def blocks(self) -> Iterator[Block]:
        """Its inverted residual blocks, in order."""
        channels, number = self.stem, 1
        for grown, width, count, first in self.settings:
            for repeat in range(count):
                yield Block(number, channels, width, grown, 1 if repeat else first)
                channels, number = width, number + 1

    def network(self) -> Network:
        """Its steps, as they are served.

        Raises:
            ValueError: ``merged`` are no blocks, or not in order.
        """
        return self._network("merged")

    def unmerged(self) -> Network:
        """Its steps as they are trained: merged blocks in three layers, without inner activations.

        Zeros are put around a block before it grows, not before its depthwise layer: so that layer
        sees the same bias at borders as inside, and the block is one convolution there too.
        """
        return self._network("linear")

    def _network(self, form: Form) -> Network:
        blocks = list(self.blocks())
        known = {block.number for block in blocks}
        if list(self.merged) != sorted(known.intersection(self.merged)):
            raise ValueError(f"merged blocks must be some of 1 to {len(blocks)}, in order")
        conv = Convolution(self.channels, self.stem, 3, self.stem_stride)
        steps = [Step("features.0", (_branch(0, conv, "features.0"),), "relu6")]
        for block in blocks:
            steps += _inverted(len(steps), block, form if block.number in self.merged else "whole")
        name = f"features.{len(blocks) + 1}"
        last = Convolution(blocks[-1].width, self.last, 1, 1, 0)
        steps.append(Step(name, (_branch(len(steps), last, name),), "relu6"))
        return Network(_size(self), tuple(steps), "classifier.1", self.classes)


def _size(images: _Images) -> tuple[int, int, int]:
    return images.height, images.width, images.channels


def _branch(source: int, conv: Convolution, name: str) -> Branch:
    """A convolution and its batch norm as torchvision's ``Conv2dNormActivation`` names them."""
    return Branch(source, conv, f"{name}.0", f"{name}.1")


def _inverted(before: int, block: Block, form: Form) -> list[Step]:
    """An inverted residual block behind wire ``before``."""
    name, inner = block.name, block.channels * block.grown
    if form == "merged":
        one = Convolution(block.channels, block.width, 3, block.stride)
        return [Step(name, (Branch(before, one, f"{name}.conv"),), "relu6")]
    within: Activation = "relu6" if form == "whole" else "none"
    steps, at, padding = list[Step](), before, 1
    if block.grown > 1:
        early = int(form == "linear")
        up = _branch(at, Convolution(block.channels, inner, 1, 1, early), f"{name}.conv.0")
        steps.append(Step(f"{name}.up", (up,), within))
        at, padding = at + 1, 1 - early
    position = len(steps)
    depthwise = Convolution(inner, inner, 3, block.stride, padding, inner)
    steps.append(
        Step(f"{name}.depthwise", (_branch(at, depthwise, f"{name}.conv.{position}"),), within)
    )
    down = Convolution(inner, block.width, 1, 1, 0)
    last = Branch(at + 1, down, f"{name}.conv.{position + 1}", f"{name}.conv.{position + 2}")
    shortcut = (Branch(before),) if block.residual else ()
    behind: Activation = "none" if form == "whole" else "relu6"
    steps.append(Step(f"{name}.down", (last, *shortcut), behind))
    return steps


Classifier = ResNet | MobileNetV2
Family = Classifier | Decoder | Encoder


def read(folder: Path) -> Family:
    """The family and sizes that a folder's config.json names.

    Raises:
        ModelError: it is missing or malformed, or its sizes do not fit together.
    """
    return parse(checkpoint.read_config(folder))


def parse(document: dict[str, object]) -> Family:
    """The same of a config.json's content."""
    try:
        family = msgspec.convert(document, Family)
        family.network().wires()
    except (msgspec.ValidationError, ValueError) as error:
        raise ModelError(f"config.json is no convolution network's: {error}") from None
    return family


def classifier(family: Family) -> Classifier:
    """The family, if it is one of classifiers; ModelError if not."""
    if not isinstance(family, Classifier):
        raise ModelError("this network is no classifier: its config.json is of a DC-VAE")
    return family


def resnet18(size: int = 224, classes: int = 1000) -> ResNet:
    """ResNet-18 for ImageNet."""
    return ResNet(size, size, 3, classes)


def resnet32(size: int = 32, classes: int = 100) -> ResNet:
    """ResNet-32 for images of 32 x 32 pixels, such as CIFAR's."""
    return ResNet(size, size, 3, classes, (5, 5, 5), (16, 32, 64), True)
