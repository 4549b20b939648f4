"""The families of convolution networks, and their steps, with torchvision's names of tensors.

Sources: He et al., CVPR 2016 (ResNet); Sandler et al., CVPR 2018 (MobileNetV2).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from veilform.errors import ModelError
from veilform.models import checkpoint
from veilform.models.vision.generative import Decoder, Encoder
from veilform.models.vision.network import Branch, Network, Step
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


class MobileNetV2(_Images, frozen=True, tag_field="family", tag="mobilenet_v2"):
    """Inverted residual blocks: 1 x 1 up, 3 x 3 depthwise, 1 x 1 down without an activation.

    Attributes:
        settings: for each stage, how many times channels grow inside, channels, blocks, stride.
        stem, stem_stride: of the first convolution.
        last: channels before the head.
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

    def network(self) -> Network:
        """Its steps."""
        conv = Convolution(self.channels, self.stem, 3, self.stem_stride)
        steps = [Step("features.0", (_branch(0, conv, "features.0"),), "relu6")]
        channels, index = self.stem, 1
        for grown, width, count, first in self.settings:
            for block in range(count):
                stride = first if block == 0 else 1
                steps += _inverted(len(steps), f"features.{index}", channels, width, grown, stride)
                channels, index = width, index + 1
        name = f"features.{index}"
        last = Convolution(channels, self.last, 1, 1, 0)
        steps.append(Step(name, (_branch(len(steps), last, name),), "relu6"))
        return Network(_size(self), tuple(steps), "classifier.1", self.classes)


def _size(images: _Images) -> tuple[int, int, int]:
    return images.height, images.width, images.channels


def _branch(source: int, conv: Convolution, name: str) -> Branch:
    """A convolution and its batch norm as torchvision's ``Conv2dNormActivation`` names them."""
    return Branch(source, conv, f"{name}.0", f"{name}.1")


def _inverted(
    before: int, name: str, channels: int, width: int, grown: int, stride: int
) -> list[Step]:
    """An inverted residual block behind wire ``before``."""
    inner, steps, at = channels * grown, [], before
    if grown > 1:
        up = _branch(at, Convolution(channels, inner, 1, 1, 0), f"{name}.conv.0")
        steps.append(Step(f"{name}.up", (up,), "relu6"))
        at += 1
    position = len(steps)
    depthwise = Convolution(inner, inner, 3, stride, 1, inner)
    steps.append(
        Step(f"{name}.depthwise", (_branch(at, depthwise, f"{name}.conv.{position}"),), "relu6")
    )
    down = Convolution(inner, width, 1, 1, 0)
    last = Branch(at + 1, down, f"{name}.conv.{position + 1}", f"{name}.conv.{position + 2}")
    shortcut = (Branch(before),) if stride == 1 and channels == width else ()
    steps.append(Step(f"{name}.down", (last, *shortcut), "none"))
    return steps


Family = ResNet | MobileNetV2 | Decoder | Encoder


def read(folder: Path) -> Family:
    """The family and sizes that a folder's config.json names.

    Raises:
        ModelError: it is missing or malformed, or its sizes do not fit together.
    """
    try:
        family = msgspec.convert(checkpoint.read_config(folder), Family)
        family.network().wires()
    except (msgspec.ValidationError, ValueError) as error:
        raise ModelError(f"config.json is no convolution network's: {error}") from None
    return family


def resnet18(size: int = 224, classes: int = 1000) -> ResNet:
    """ResNet-18 for ImageNet."""
    return ResNet(size, size, 3, classes)


def resnet32(size: int = 32, classes: int = 100) -> ResNet:
    """ResNet-32 for images of 32 x 32 pixels, such as CIFAR's."""
    return ResNet(size, size, 3, classes, (5, 5, 5), (16, 32, 64), True)
