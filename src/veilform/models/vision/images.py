"""What a user has, files, Pillow's images or arrays, as a network takes it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from veilform.errors import InputError
from veilform.models.sides import Shape
from veilform.models.vision import pictures
from veilform.models.vision.preprocess import Pixels, Preprocessing, Real

MOST_BYTES = 4 << 30
"""Of all images that are encoded at once."""
MOST_TIMES = 64
"""So many times the pixels that a network takes may a picture have once it is resized."""


class ImageBatch(NamedTuple):
    """Images (B, H, W, C), as the network takes them: normalised, channels last."""

    images: Real

    @property
    def shape(self) -> Shape:
        """Of the run that answers them."""
        return Shape(len(self.images), 1)


class ImageEncoder:
    """Reads pictures for one network.

    Args:
        image: height, width, channels that the network takes.
        how: what is done with pixels.
    """

    def __init__(self, image: tuple[int, int, int], how: Preprocessing) -> None:
        self.image, self.how = image, how

    def encode(self, inputs: Sequence[Any]) -> list[Real]:
        """Each as an image (H, W, C).

        A path names a picture file, bytes are one's content. A string is neither, so that no text
        from elsewhere becomes a file's name. An array of uint8 holds pixels,
        (H, W, C) or, of one channel, (H, W), which are treated like a file's; one of floats is an
        image already, normalised, of the size that the network takes.

        Raises:
            InputError: one cannot be used. Says which, and never what is in it.
        """
        if isinstance(inputs, str | bytes | Path | np.ndarray):
            raise InputError("expected a list of images, got a single one")
        if not inputs:
            raise InputError("there is no image")
        if 8 * len(inputs) * math.prod(self.image) > MOST_BYTES:
            raise InputError(f"{len(inputs)} images take over {MOST_BYTES >> 30} GiB: give fewer")
        return [self._one(each, number) for number, each in enumerate(inputs, 1)]

    def pad(self, inputs: Sequence[Real]) -> ImageBatch:
        """Images as one batch; they are of one size already."""
        if not inputs:
            raise InputError("there is no image")
        return ImageBatch(np.stack(inputs))

    def packed(self, encoded: Real) -> tuple[Real]:
        """An image is plain already."""
        return (encoded,)

    def unpacked(self, plain: tuple[Any, ...]) -> Real:
        """What `packed` made plain."""
        return np.asarray(plain[0], np.float64)

    def _one(self, given: Any, number: int) -> Real:
        channels = self.image[2]
        if isinstance(given, Path):
            return self._framed(pictures.read(given, str(given), channels), str(given))
        name = f"image {number}"
        if isinstance(given, bytes | bytearray | memoryview):
            return self._framed(pictures.read(bytes(given), name, channels), name)
        if pictures.is_picture(given):
            return self._framed(pictures.as_mode(given, name, channels), name)
        if not isinstance(given, np.ndarray):
            raise InputError(f"{name} is a {type(given).__name__}, not a picture nor an array")
        if given.ndim == 2:
            given = given[..., None]
        if given.ndim != 3 or given.shape[2] != channels or not given.size:
            raise InputError(
                f"{name} is an array of shape {given.shape}, but the model takes H x W x {channels}"
            )
        if given.dtype == np.uint8:
            return self._framed(given, name)
        if not np.issubdtype(given.dtype, np.floating):
            raise InputError(f"{name} is an array of {given.dtype}: give uint8 pixels, or floats")
        return self._sized(given.astype(np.float64), name)

    def _framed(self, picture: Any, name: str) -> Real:
        """Pillow's image, or pixels (H, W, C), resized, cropped, padded and normalised."""
        if isinstance(picture, np.ndarray):
            height, width = picture.shape[:2]
        else:
            height, width = picture.height, picture.width
        if not height * width:
            raise InputError(f"{name} is empty: {height} x {width} pixels")
        size = self.how.resized(height, width, self.image)
        # Of what is resized to be cropped: a thin line would become an enormous picture.
        if size[0] * size[1] > MOST_TIMES * self.image[0] * self.image[1]:
            raise InputError(f"{name} is too long and narrow: {height} x {width} pixels")
        pixels: Pixels = pictures.resize(picture, size, self.how.resample)
        return self.how.entries(self._sized(self.how.framed(pixels, self.image), name))

    def _sized(self, image: Any, name: str) -> Any:
        if image.shape != self.image:
            wanted = " x ".join(map(str, self.image))
            raise InputError(
                f"{name} is {' x '.join(map(str, image.shape))}, but the model takes {wanted}, and "
                "its preprocessor_config.json does not resize"
                if image.dtype == np.uint8
                else f"{name} is {' x '.join(map(str, image.shape))} numbers, but the model takes "
                f"{wanted}; give pixels (uint8) to have it resized"
            )
        return image
