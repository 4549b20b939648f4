"""From pixels to what a network takes, as Hugging Face's image processors describe it.

``preprocessor_config.json`` has their names: resize, crop around the middle, pad around the middle,
rescale, normalise, in this order; what is left out is not done. Since a pixel has 256 values, what
a network is given is bounded for every picture, and that bound is the range of the secure program's
input: nothing about it has to be measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from veilform.errors import ModelError
from veilform.models import checkpoint

PREPROCESSOR = "preprocessor_config.json"
_MOST_BYTES = 1 << 16
BILINEAR = 2
"""Hugging Face's and Pillow's number of a way to resize."""

Pixels: TypeAlias = npt.NDArray[np.uint8]
Real: TypeAlias = npt.NDArray[np.float64]
Side = Annotated[int, msgspec.Meta(ge=1, le=1 << 14)]
Sizes = tuple[int, int]


class Size(msgspec.Struct, frozen=True):
    """Pixels of a picture: both sides, or the shorter one, which keeps the proportions."""

    height: Side | None = None
    width: Side | None = None
    shortest_edge: Side | None = None

    def after(self, height: int, width: int) -> Sizes:
        """What a picture of height x width is resized to."""
        if self.shortest_edge is None:
            return self.fixed()
        short = min(height, width)
        # Hugging Face and torchvision round down.
        return (
            max(1, int(self.shortest_edge * height / short)),
            max(1, int(self.shortest_edge * width / short)),
        )

    def fixed(self) -> Sizes:
        """Height and width; ModelError if it has not both."""
        if self.height is None or self.width is None:
            raise ModelError(f"a size in {PREPROCESSOR} needs a height and a width")
        return self.height, self.width


class Preprocessing(msgspec.Struct, frozen=True, omit_defaults=True):
    """How pixels become entries of an image, by Hugging Face's names.

    Attributes:
        image_mean, image_std: of each channel, or one for all; after rescaling.
        resample: Pillow's number of the filter, 2 for bilinear.
    """

    do_resize: bool = False
    size: Size | Side | None = None
    resample: Annotated[int, msgspec.Meta(ge=0, le=5)] = BILINEAR
    do_center_crop: bool = False
    crop_size: Size | Side | None = None
    do_pad: bool = False
    pad_size: Size | Side | None = None
    do_rescale: bool = True
    rescale_factor: float = 1 / 255
    do_normalize: bool = False
    image_mean: tuple[float, ...] | float = 0.0
    image_std: tuple[float, ...] | float = 1.0

    @classmethod
    def read(cls, folder: Path, image: tuple[int, int, int]) -> Preprocessing:
        """That of a folder; where it has none, pictures are resized and scaled to [0, 1].

        Args:
            image: height, width and channels that the network takes.

        Raises:
            ModelError: it is malformed, or makes images of another size.
        """
        if not (folder / PREPROCESSOR).is_file():
            return cls.resizing(image)
        content = checkpoint.read_bytes(folder, PREPROCESSOR, _MOST_BYTES)
        try:
            found = msgspec.json.decode(content, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ModelError(f"{PREPROCESSOR} in {folder} is malformed: {error}") from None
        found.check(image)
        return found

    @classmethod
    def resizing(cls, image: tuple[int, int, int]) -> Preprocessing:
        """Resized to what the network takes, entries from 0 to 1."""
        return cls(do_resize=True, size=Size(image[0], image[1]))

    def save(self, folder: Path) -> None:
        """Write it, as `read` and Hugging Face read it."""
        content = msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"
        (folder / PREPROCESSOR).write_bytes(content)

    def check(self, image: tuple[int, int, int]) -> None:
        """Raises ModelError if it makes other images than the network takes, or no numbers."""
        made = self.made(image)
        if made is not None and made != image[:2]:
            raise ModelError(
                f"{PREPROCESSOR} makes images of {made[0]} x {made[1]} pixels, but the network "
                f"takes {image[0]} x {image[1]}"
            )
        mean, std = self.normal(image[2])
        if not (np.all(np.isfinite(mean)) and np.all(np.isfinite(std)) and np.all(std > 0)):
            raise ModelError(f"image_mean and image_std in {PREPROCESSOR} must be finite, std > 0")
        if not 0 < self.rescale_factor <= 1:
            raise ModelError(f"rescale_factor in {PREPROCESSOR} must be from 0 to 1")

    def made(self, image: tuple[int, int, int]) -> Sizes | None:
        """Height and width of what it makes, if they follow from it alone."""
        for wanted, size in (
            (self.do_pad, self.pad_size),
            (self.do_center_crop, self.crop_size or self.size),
        ):
            if wanted:
                return image[:2] if size is None else _size(size).fixed()
        if self.do_resize and self.size is not None:
            size = _size(self.size)
            return None if size.shortest_edge is not None else size.fixed()
        return image[:2] if self.do_resize else None

    def resized(self, height: int, width: int, image: tuple[int, int, int]) -> Sizes:
        """What a picture of height x width is resized to before it is cropped and padded."""
        if not self.do_resize:
            return height, width
        if self.size is None:
            return image[:2]
        size = self.size
        if isinstance(size, int):
            # Hugging Face: one number is the shorter side where a crop follows, else both sides.
            size = Size(shortest_edge=size) if self.do_center_crop else Size(size, size)
        return size.after(height, width)

    def framed(self, pixels: Pixels, image: tuple[int, int, int]) -> Pixels:
        """Resized pixels (H, W, C) cropped and padded with zeros around the middle."""
        if self.do_center_crop:
            size = self.crop_size or self.size
            pixels = _fit(pixels, image[:2] if size is None else _size(size).fixed(), crop=True)
        if self.do_pad:
            pixels = _fit(pixels, image[:2] if self.pad_size is None
                          else _size(self.pad_size).fixed(), crop=False)  # fmt: skip
        return pixels

    def entries(self, pixels: Pixels) -> Real:
        """Pixels (..., C) rescaled and normalised."""
        mean, std = self.normal(pixels.shape[-1])
        scaled = pixels.astype(np.float64) * (self.rescale_factor if self.do_rescale else 1.0)
        return (scaled - mean) / std

    def normal(self, channels: int) -> tuple[Real, Real]:
        """Mean and deviation of each channel; ModelError if there is another number of them."""
        found = []
        for name, given in (("image_mean", self.image_mean), ("image_std", self.image_std)):
            standard: Any = given if self.do_normalize else float(name == "image_std")
            values = np.atleast_1d(np.asarray(standard, np.float64))
            if len(values) not in (1, channels):
                raise ModelError(
                    f"{name} in {PREPROCESSOR} has {len(values)} numbers for {channels} channels"
                )
            found.append(np.broadcast_to(values, channels))
        return found[0], found[1]

    def largest(self, channels: int) -> float:
        """No entry of any picture is larger in absolute value."""
        extremes = np.array([[0] * channels, [255] * channels], np.uint8)
        return float(np.abs(self.entries(extremes)).max())


def _size(given: Size | int) -> Size:
    return Size(given, given) if isinstance(given, int) else given


def _fit(pixels: Pixels, size: Sizes, *, crop: bool) -> Pixels:
    """Cut or filled up around the middle, where a picture is larger or smaller."""
    for axis, wanted in enumerate(size):
        have = pixels.shape[axis]
        if have > wanted and crop:
            first = (have - wanted) // 2
            pixels = np.take(pixels, range(first, first + wanted), axis)
        elif have < wanted:
            before = (wanted - have) // 2
            edges = [(0, 0)] * 3
            edges[axis] = (before, wanted - have - before)
            pixels = np.pad(pixels, edges)
    return pixels
