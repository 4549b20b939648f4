"""DC-VAE's two networks: latents to images, and images to latents.

Their residual blocks activate first, so what passes between blocks is a sum without an activation.
A wire of it would cost an opening and a presharing. Instead it is kept as the branches that it adds
up, and a 1 x 1 shortcut behind it is multiplied into each of them: every wire is an activation.
Averages and doublings commute with 1 x 1 convolutions, so this is exact, borders included.

Sources: Parmar et al., arXiv 2011.10063; Gong et al., AutoGAN, arXiv 1908.03835 (the cells).
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from veilform.masks import Spread, SumPool, Upsampled
from veilform.models.vision.network import Branch, Link, Network, Step
from veilform.nn.convolution import Convolution

Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 14)]
BASE, LAST = 4, 8
"""Pixels along a side where a decoder starts, and where an encoder stops halving."""
PIXEL_SUM = SumPool(2, 2, 0)


class _Sum:
    """A sum of branches that no activation has ended yet."""

    def __init__(self, *branches: Branch) -> None:
        self.branches = branches

    def __add__(self, other: _Sum) -> _Sum:
        return _Sum(*self.branches, *other.branches)

    def through(self, name: str) -> _Sum:
        """A 1 x 1 convolution of it; the first branch has its bias."""
        return _Sum(
            *(
                _replace(b, links=(*b.links, Link(name, i == 0)))
                for i, b in enumerate(self.branches)
            )
        )

    def grown(self, factor: int) -> _Sum:
        """Each pixel as ``factor`` x ``factor`` of them."""
        made = []
        for b in self.branches:
            if b.after and isinstance(last := b.after[-1], Upsampled):
                made.append(_replace(b, after=(*b.after[:-1], Upsampled(last.factor * factor))))
            else:
                made.append(_replace(b, after=(*b.after, Upsampled(factor))))
        return _Sum(*made)

    def halved(self) -> _Sum:
        """Averages of 2 x 2 pixels; of averages, as one larger average."""
        made = []
        for b in self.branches:
            if b.after and isinstance(last := b.after[-1], SumPool):
                size = 2 * last.size
                made.append(_replace(b, after=(*b.after[:-1], SumPool(size, size, 0))))
            else:
                made.append(_replace(b, after=(*b.after, PIXEL_SUM)))
        return _Sum(*made)


def _replace(branch: Branch, **changes: object) -> Branch:
    return msgspec.structs.replace(branch, **changes)


class _Steps:
    """Steps as they are made."""

    def __init__(self) -> None:
        self.made: list[Step] = []

    def activated(self, name: str, total: _Sum, norm: str = "") -> int:
        """The wire of a ReLU of a sum."""
        self.made.append(Step(name, _named(name, total), norm=norm))
        return len(self.made)


def _named(step: str, total: _Sum) -> tuple[Branch, ...]:
    """The same convolution may enter several sums, in each with other factors."""
    return tuple(_replace(b, label=f"{step}<{b.name}") for b in total.branches)


def _of(source: int, conv: Convolution, name: str, *before: SumPool | Upsampled) -> _Sum:
    return _Sum(Branch(source, conv, name, before=before))


class _Sizes(msgspec.Struct, frozen=True):
    """What both are told.

    Attributes:
        size, channels: of images, size x size.
        latent: entries of a latent.
        width: channels inside.
    """

    size: Count
    channels: Count
    latent: Count
    width: Count

    largest: ClassVar[float | None] = None
    """None: inputs are pictures, whose preprocessing bounds them."""

    def _doublings(self, start: int) -> int:
        if self.size <= start or self.size & (self.size - 1):
            raise ValueError(f"images of {self.size} pixels a side are not {start} times 2, 4, ...")
        return (self.size // start).bit_length() - 1


class Decoder(_Sizes, frozen=True, tag_field="family", tag="dcvae-decoder"):
    """Latents, as images of one pixel, to images in [-1, 1].

    Attributes:
        largest: of a latent's entries, in absolute value; the prior's are beyond it once in 500
            million.
    """

    largest: ClassVar[float | None] = 6.0

    def network(self) -> Network:
        """Its steps."""
        wide, steps = Convolution(self.width, self.width), _Steps()
        base = Convolution(self.latent, BASE * BASE * self.width, 1, 1, 0)
        x = _Sum(Branch(0, base, "base", after=(Spread(BASE),)))
        earlier: list[_Sum] = []
        for i in range(self._doublings(BASE)):
            cell = f"cells.{i}"
            first = steps.activated(f"{cell}.1", x, f"{cell}.norm1")
            inner = h = _of(first, wide, f"{cell}.conv1", Upsampled(2))
            for j, given in enumerate(earlier):
                h = h + given.through(f"{cell}.skips.{j}").grown(2 ** (i - j))
            second = steps.activated(f"{cell}.2", h, f"{cell}.norm2")
            x = _of(second, wide, f"{cell}.conv2") + x.through(f"{cell}.shortcut").grown(2)
            earlier.append(inner)
        last = _of(
            steps.activated("last", x, "norm"), Convolution(self.width, self.channels), "image"
        )
        image = Step("image", _named("image", last), "tanh")
        return Network((1, 1, self.latent), (*steps.made, image), "", 0)


class Encoder(_Sizes, frozen=True, tag_field="family", tag="dcvae-encoder"):
    """Images in [-1, 1] to the means of their latents."""

    def network(self) -> Network:
        """Its steps."""
        wide, steps = Convolution(self.width, self.width), _Steps()
        halvings = self._doublings(LAST)
        x = self._first(steps)
        for i in range(1, halvings + 2):
            block = f"blocks.{i}"
            h = _of(steps.activated(f"{block}.1", x), wide, f"{block}.conv1")
            h = _of(steps.activated(f"{block}.2", h), wide, f"{block}.conv2")
            x = (h + x.through(f"{block}.shortcut")).halved() if i < halvings else h + x
        steps.activated("last", x)
        image = (self.size, self.size, self.channels)
        return Network(image, tuple(steps.made), "mean", self.latent)

    def _first(self, steps: _Steps) -> _Sum:
        """The first block sees the image as it is."""
        inner = _of(0, Convolution(self.channels, self.width), "blocks.0.conv1")
        h = steps.activated("blocks.0.2", inner)
        x = _of(h, Convolution(self.width, self.width), "blocks.0.conv2").halved()
        short = Convolution(self.channels, self.width, 1, 1, 0)
        return x + _of(0, short, "blocks.0.shortcut", PIXEL_SUM)


Family = Encoder | Decoder
