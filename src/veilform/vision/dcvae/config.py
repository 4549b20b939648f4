"""Sizes, losses and training of a DC-VAE, and the variants that its losses make.

Source: Parmar et al., Dual Contradistinctive Generative Autoencoder, arXiv 2011.10063.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from veilform.errors import InputError, ModelError

Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]
Weight = Annotated[float, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0, lt=1)]
Variant = Literal["vae", "vae-gan", "dcvae-set", "dcvae"]

BASE = 4
"""Pixels along a side where the generator starts."""
LAST = 8
"""Pixels along a side where the encoders stop halving."""


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model and its training; the defaults are the paper's for images of 32 x 32.

    Attributes:
        size, channels: of images: size x size, a power of two of 16 or more.
        latent: entries of a latent.
        generator, encoder: channels of the generator's cells, and of both encoders' blocks.
        contrast: entries of an instance's feature vector.
        adversarial: whether there is a set-level loss, and so a discriminator.
        instance: weight of the instance-level loss, of each of its two features.
        pixel, feature: weights of the squared error of reconstructions, summed over pixels, and of
            that in the discriminator's last features.
        kl: weight of the divergence of an image's posterior from the prior. The paper's is 1e-6 of
            the sum over a batch of 64; this is of the mean, so batches of any size do the same.
        queue: keys that are kept; temperature: of their similarities.
        momentum, average: decay of the key encoder and of the averaged generator.
        batch, steps: images in a step, and the discriminator's steps.
        every: the encoder and the generator take one step in so many.
        rate, betas: of Adam.
        bf16: bfloat16 arithmetic in training; losses stay in float32.
        seed: of weights, order and latents.
    """

    size: Count = 32
    channels: Count = 3
    latent: Count = 128
    generator: Count = 256
    encoder: Count = 128
    contrast: Count = 128
    adversarial: bool = True
    instance: Weight = 0.5
    pixel: Weight = 0.0
    feature: Weight = 0.0
    kl: Weight = 6.4e-5
    queue: Count = 8192
    temperature: Annotated[float, msgspec.Meta(gt=0)] = 0.07
    momentum: Share = 0.999
    average: Share = 0.999
    batch: Annotated[int, msgspec.Meta(ge=2, le=1 << 16)] = 64
    steps: Count = 200_000
    every: Count = 5
    rate: Annotated[float, msgspec.Meta(gt=0)] = 2e-4
    betas: tuple[Share, Share] = (0.0, 0.9)
    bf16: bool = False
    seed: Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)] = 0

    def __post_init__(self) -> None:
        if self.size < 2 * LAST or self.size & (self.size - 1):
            raise ValueError(
                f"images of {self.size} pixels a side: it must be a power of two, 16 or more"
            )
        if not (self.adversarial or self.pixel):
            raise ValueError("without an adversarial loss a model needs a pixel loss")
        if not self.adversarial and (self.instance or self.feature):
            raise ValueError("instance and feature losses need the adversarial loss's encoder")

    @property
    def cells(self) -> int:
        """Cells of the generator, each of which doubles the image."""
        return (self.size // BASE).bit_length() - 1

    @property
    def halvings(self) -> int:
        """Blocks of an encoder that halve the image; two more do not."""
        return (self.size // LAST).bit_length() - 1


_VARIANTS: dict[Variant, dict[str, Any]] = {
    "vae": {"adversarial": False, "instance": 0.0, "pixel": 1.0, "kl": 1.0, "every": 1},
    "vae-gan": {"instance": 0.0, "feature": 1.0},
    "dcvae-set": {"instance": 0.0},
    "dcvae": {},
}
VARIANTS = tuple(_VARIANTS)


def variant(name: str, **sizes: Any) -> Config:
    """The config of a variant; ``sizes`` are any other attributes.

    ``vae``: pixel loss and divergence, both summed over an image; a step of encoder and generator
    in each, as there is no discriminator. ``vae-gan``: the set-level loss,
    and the squared error in the discriminator's features (Larsen et al., arXiv 1512.09300).
    ``dcvae-set``: the set-level loss alone. ``dcvae``: with the instance-level loss.

    Raises:
        InputError: there is no such variant, or a size makes no sense.
    """
    if name not in _VARIANTS:
        raise InputError(f"there is no variant {name!r}; choose one of {', '.join(VARIANTS)}")
    try:
        return msgspec.convert({**_VARIANTS[name], **sizes}, Config)
    except (msgspec.ValidationError, ValueError) as error:
        raise InputError(f"this model cannot be made: {error}") from None


def read(content: bytes, where: str) -> Config:
    """The config that a file holds.

    Raises:
        ModelError: it is none.
    """
    try:
        return msgspec.json.decode(content, type=Config)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{where} is no DC-VAE's: {error}") from None
