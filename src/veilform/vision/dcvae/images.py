"""Images in and out: folders of pictures, arrays, Fashion-MNIST, and grids as PNG files."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from veilform.errors import InputError
from veilform.models.vision import pictures
from veilform.models.vision.preprocess import BILINEAR
from veilform.vision import fashion
from veilform.vision.dcvae.config import Config
from veilform.vision.fashion import FASHION

Images = NDArray[np.uint8]


def check(images: Any, config: Config) -> Images:
    """Images (N, size, size, channels) of uint8; grey ones may lack the last axis.

    Raises:
        InputError: they are of another kind, size or number of channels, or there is none.
    """
    found = np.asarray(images)
    if found.dtype != np.uint8:
        raise InputError(f"images are bytes from 0 to 255 (uint8), not {found.dtype}")
    if found.ndim == 3:
        found = found[..., None]
    if found.ndim != 4 or not len(found):
        raise InputError(f"images have shape N x height x width x channels, not {found.shape}")
    if found.shape[3] != config.channels:
        raise InputError(f"images have {found.shape[3]} channels, but the model {config.channels}")
    if found.shape[1:3] != (config.size, config.size):
        height, width = found.shape[1:3]
        raise InputError(
            f"images are {height} x {width}, but the model's {config.size} x {config.size}; "
            "pad or resize them"
        )
    return found


def load(source: str, config: Config, split: Literal["train", "test"] = "train") -> Images:
    """The images of a folder, resized to the model's size, or ``fashion_mnist``.

    Raises:
        InputError: there is none, one cannot be read, or they do not suit the model.
    """
    if source == FASHION:
        return check(fashion.padded(split)[0], config)
    return check(from_folder(Path(source), config.size, config.channels), config)


def from_folder(folder: Path, size: int, channels: int) -> Images:
    """Every picture of a folder, by name: cut to its middle square, resized.

    Raises:
        InputError: Pillow is missing, the folder has no picture, or a picture is corrupt.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in pictures.SUFFIXES)
    if not paths:
        raise InputError(f"{folder} has no picture ({', '.join(pictures.SUFFIXES)})")
    out = np.empty((len(paths), size, size, channels), np.uint8)
    for i, path in enumerate(paths):
        picture = pictures.read(path, str(path), channels)
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        square = picture.crop((left, top, left + side, top + side))
        out[i] = pictures.resize(square, (size, size), BILINEAR)
    return out


def as_bytes(images: NDArray[Any]) -> Images:
    """What networks draw, in [-1, 1], as pixels."""
    return np.clip(np.rint((images + 1) * 127.5), 0, 255).astype(np.uint8)


def grid(images: Images, columns: int, border: int = 1) -> Images:
    """Images (N, H, W, C) side by side in rows: (H', W', C)."""
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    out = np.full(
        (rows * (height + border) + border, columns * (width + border) + border, channels),
        255, np.uint8,
    )  # fmt: skip
    for i, image in enumerate(images):
        y = border + (i // columns) * (height + border)
        x = border + (i % columns) * (width + border)
        out[y : y + height, x : x + width] = image
    return out


def write_png(path: Path, picture: Images, scale: int = 1) -> None:
    """A grey (H, W, 1) or coloured (H, W, 3) picture, each pixel ``scale`` squared.

    The format is simple enough without a library: ISO/IEC 15948, filter 0.

    Raises:
        InputError: it has another number of channels.
    """
    if picture.shape[2] not in (1, 3):
        raise InputError(f"no PNG file of {picture.shape[2]} channels")
    picture = picture.repeat(scale, 0).repeat(scale, 1)
    height, width, channels = picture.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)
    rows[:, 1:] = picture.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts))


def _chunk(kind: bytes, content: bytes) -> bytes:
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))
