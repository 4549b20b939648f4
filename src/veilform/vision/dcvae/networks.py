"""The three networks: encoder, generator, and the dual encoder that both losses read."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from veilform.vision.dcvae.blocks import (
    EncoderBlock,
    GeneratorCell,
    averaged,
    convolution,
    summed,
    unit,
)
from veilform.vision.dcvae.config import BASE, Config


class Trunk(nn.Module):
    """Blocks that halve an image down to 8 x 8, and two that keep it."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        halves = [True] * config.halvings + [False, False]
        widths = [config.channels] + [config.encoder] * (len(halves) - 1)
        self.blocks = nn.ModuleList(
            EncoderBlock(inputs, config.encoder, each, first=i == 0)
            for i, (inputs, each) in enumerate(zip(widths, halves, strict=True))
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The first block's output and the last's, before their ReLUs."""
        x = first = self.blocks[0](images)
        for block in self.blocks[1:]:
            x = block(x)
        return first, x


class Encoder(Trunk):
    """Images to the mean and the log variance of their latents.

    Sums over pixels are normalised over the batch: at first they hardly differ between images, and
    what all share would lie far from the prior. The served network has the norm in its last layer.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.mean = nn.Linear(config.encoder, config.latent)
        self.spread = nn.Linear(config.encoder, config.latent)
        self.norm = nn.BatchNorm1d(config.encoder, affine=False)
        # Latents are to tell something from the start, so noise has a third of their deviation.
        nn.init.zeros_(self.spread.weight)
        nn.init.constant_(self.spread.bias, -2.0)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, latent) twice."""
        x = self.norm(averaged(super().forward(images)[1]))
        return self.mean(x), self.spread(x)


class Generator(nn.Module):
    """Latents to images in [-1, 1]."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.generator
        # A linear layer, as a convolution of one pixel: the form in which it is served.
        self.base = convolution(config.latent, BASE * BASE * width, 1)
        self.cells = nn.ModuleList(GeneratorCell(width, i) for i in range(config.cells))
        self.norm = nn.BatchNorm2d(width)
        self.image = convolution(width, config.channels)

    def forward(self, latents: Tensor) -> Tensor:
        """(B, latent) to (B, channels, size, size)."""
        x = self.base(latents[:, :, None, None]).reshape(len(latents), BASE, BASE, -1)
        x = x.permute(0, 3, 1, 2)
        earlier: list[Tensor] = []
        for cell in self.cells:
            inner, x = cell(x, earlier)
            earlier.append(inner)
        return torch.tanh(self.image(functional.relu(self.norm(x))))


class Seen(NamedTuple):
    """What the dual encoder makes of images.

    Attributes:
        real: (B,), high for real images.
        first, final: unit vectors (B, contrast) that tell instances apart.
        features: (B, C, 8, 8), the trunk's output after a ReLU.
    """

    real: Tensor
    first: Tensor
    final: Tensor
    features: Tensor


class DualEncoder(Trunk):
    """One trunk for an adversarial head and two contrast heads."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.real = spectral_norm(nn.Linear(config.encoder, 1))
        # The first block's features keep where they are: means over 4 x 4 parts of the image.
        self.first = nn.Linear(BASE * BASE * config.encoder, config.contrast)
        self.final = nn.Linear(config.encoder, config.contrast)

    def forward(self, images: Tensor) -> Seen:  # type: ignore[override]
        """Scores and features of (B, channels, size, size)."""
        early, late = super().forward(images)
        parts = functional.adaptive_avg_pool2d(functional.relu(early), BASE).flatten(1)
        return Seen(
            self.real(summed(late))[:, 0],
            unit(self.first(parts)),
            unit(self.final(averaged(late))),
            functional.relu(late),
        )
