"""What generator and encoders are made of: residual blocks that activate first.

Source: Gong et al., AutoGAN, arXiv 1908.03835 (the generator's cells with skip inputs); Miyato et
al., Spectral Normalization, arXiv 1802.05957 (the encoders' blocks).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm


def convolution(inputs: int, outputs: int, size: int = 3) -> nn.Conv2d:
    """One that keeps an image's size, Glorot's initialisation."""
    made = nn.Conv2d(inputs, outputs, size, padding=size // 2)
    nn.init.xavier_uniform_(made.weight)
    return made


class EncoderBlock(nn.Module):
    """ReLU, convolution, ReLU, convolution, beside a shortcut; both are averaged if it halves.

    The first of all takes the image as it is: no ReLU before it, and its shortcut is averaged
    before it is convolved.
    """

    def __init__(self, inputs: int, outputs: int, halves: bool, first: bool = False) -> None:
        super().__init__()
        self.conv1 = spectral_norm(convolution(inputs, outputs))
        self.conv2 = spectral_norm(convolution(outputs, outputs))
        self.shortcut = spectral_norm(convolution(inputs, outputs, 1)) if halves else None
        self.halves, self.first = halves, first

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, K, H', W')."""
        h = self.conv1(x if self.first else functional.relu(x))
        h = self.conv2(functional.relu(h))
        if self.shortcut is None:
            return h + x
        if self.first:
            return _halved(h) + self.shortcut(_halved(x))
        return _halved(h + self.shortcut(x))


def _halved(x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, 2)


class GeneratorCell(nn.Module):
    """Doubles an image: norm, ReLU, convolution; skip inputs; norm, ReLU, convolution; shortcut.

    Attributes:
        skips: a 1 x 1 convolution for each earlier cell, of what its first convolution gave.
    """

    def __init__(self, width: int, earlier: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.conv1, self.conv2 = convolution(width, width), convolution(width, width)
        self.shortcut = convolution(width, width, 1)
        self.skips = nn.ModuleList(convolution(width, width, 1) for _ in range(earlier))

    def forward(self, x: Tensor, earlier: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """What it gives as a skip input, and its output; both (B, C, 2 H, 2 W)."""
        inner = self.conv1(doubled(functional.relu(self.norm1(x))))
        h = inner
        for skip, given in zip(self.skips, earlier, strict=True):
            # A 1 x 1 convolution before the doubling is the same with a quarter of the work.
            h = h + _grown(skip(given), inner.shape[-1])
        h = self.conv2(functional.relu(self.norm2(h)))
        return inner, h + doubled(self.shortcut(x))


def doubled(x: Tensor) -> Tensor:
    """Each pixel as 2 x 2 of them."""
    return _grown(x, 2 * x.shape[-1])


def _grown(x: Tensor, side: int) -> Tensor:
    return functional.interpolate(x, size=(side, side), mode="nearest")


def summed(x: Tensor) -> Tensor:
    """ReLU, then the sum over pixels: (B, C)."""
    return functional.relu(x).sum((2, 3))


def averaged(x: Tensor) -> Tensor:
    """ReLU, then the mean over pixels: (B, C)."""
    return functional.relu(x).mean((2, 3))


def unit(x: Tensor) -> Tensor:
    """Rows of length one."""
    return functional.normalize(x, dim=1)
