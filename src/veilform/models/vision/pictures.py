"""Reads picture files with Pillow: bounded before anything is decoded, and in no other format.

Pillow is of the extra ``images``; arrays of a network's own size do without.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from veilform.errors import InputError
from veilform.models.vision.preprocess import Pixels

FORMATS = ("PNG", "JPEG", "PPM", "BMP", "WEBP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".pgm", ".ppm", ".pnm", ".bmp", ".webp")
MOST_BYTES = 64 << 20
MOST_PIXELS = 1 << 26
NEEDS_PILLOW = "reading and resizing pictures needs Pillow: pip install 'veilform[images]'"
_MODES = {1: "L", 3: "RGB"}


def read(source: Path | bytes, name: str, channels: int) -> Any:
    """A picture, grey or RGB as the channels say, turned as its EXIF data say.

    Args:
        source: a file, or one's content.
        name: of it, for errors.

    Returns:
        Pillow's image, of 8 bits a channel.

    Raises:
        InputError: Pillow is not installed, or it is no picture that can be read whole.
    """
    image, ops = _pillow()
    content = _content(source, name) if isinstance(source, Path) else source
    if len(content) > MOST_BYTES:
        raise InputError(f"{name} is over the limit of {MOST_BYTES} bytes")
    bombs = (image.DecompressionBombError, image.DecompressionBombWarning)
    try:
        # Reads the header alone.
        picture = image.open(io.BytesIO(content), formats=FORMATS)
    except bombs:
        raise _too_large(name) from None
    except image.UnidentifiedImageError:
        known = ", ".join(FORMATS)
        raise InputError(f"{name} is no picture of a format that is read here: {known}") from None
    except Exception as error:  # decoders raise whatever a broken file leads to
        raise _broken(name, error) from None
    if picture.width * picture.height > MOST_PIXELS:
        raise _too_large(name)
    try:
        picture.load()
        return as_mode(ops.exif_transpose(picture), name, channels)
    except InputError:
        raise
    except Exception as error:
        raise _broken(name, error) from None


def as_mode(picture: Any, name: str, channels: int) -> Any:
    """Pillow's image as grey or RGB of 8 bits.

    Raises:
        InputError: it has more bits or is damaged, or no picture has so many channels.
    """
    if channels not in _MODES:
        raise InputError(
            f"pictures have 1 or 3 channels, but the model takes {channels}: give arrays"
        )
    if picture.mode[0] in "IF":
        raise InputError(f"{name} has more than 8 bits a channel; save it with 8")
    try:
        if picture.mode == "P":  # whose transparency other modes cannot tell
            picture = picture.convert("RGBA")
        return picture.convert(_MODES[channels])
    except Exception as error:  # it may be decoded only now
        raise _broken(name, error) from None


def is_picture(given: object) -> bool:
    """Whether it is Pillow's image, without loading Pillow."""
    return hasattr(given, "convert") and type(given).__module__.startswith("PIL.")


def resize(pixels: Any, size: tuple[int, int], resample: int) -> Pixels:
    """A picture, or pixels (H, W, C) of one or three channels, as pixels of another size.

    Raises:
        InputError: Pillow is needed and not installed, or there is another number of channels.
    """
    if isinstance(pixels, np.ndarray):
        if pixels.shape[:2] == size:
            return pixels
        image, _ = _pillow()
        if pixels.shape[2] not in _MODES:
            raise InputError(f"an image of {pixels.shape[2]} channels cannot be resized")
        pixels = image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    if (pixels.height, pixels.width) != size:
        pixels = pixels.resize(size[::-1], resample)
    found = np.asarray(pixels, np.uint8)
    return found[..., None] if found.ndim == 2 else found


def _content(path: Path, name: str) -> bytes:
    try:
        if not path.is_file():
            raise InputError(f"there is no file {name}")
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no path"
        raise InputError(f"cannot read {name}: {reason}") from None


def _pillow() -> tuple[Any, Any]:
    try:
        from PIL import Image, ImageOps
    except ModuleNotFoundError:
        raise InputError(NEEDS_PILLOW) from None
    return Image, ImageOps


def _too_large(name: str) -> InputError:
    return InputError(
        f"{name} is larger than {MOST_PIXELS >> 20} million pixels: make it smaller first"
    )


def _broken(name: str, error: Exception) -> InputError:
    return InputError(f"{name} is damaged or cut off ({type(error).__name__})")
