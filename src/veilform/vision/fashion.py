"""Fashion-MNIST: 70,000 labelled grey images of 28 x 28 pixels, ten classes.

Source: Xiao, Rasul and Vollgraf, arXiv 1708.07747 (MIT licence). The files are those of Debian's
package dataset-fashion-mnist, and of every other copy: IDX, gzip.
"""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from veilform.errors import InputError

CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
FASHION = "fashion_mnist"
"""Its name where commands take data."""
SIDE = 28
_INSTALLED = Path("/usr/share/datasets/fashion-mnist")
_FILES = {"train": ("train", 60_000), "test": ("t10k", 10_000)}
_IMAGES, _LABELS = 0x00000803, 0x00000801


def folder() -> Path:
    """Where the files are: $FASHION_MNIST, or Debian's folder.

    Raises:
        InputError: it does not exist.
    """
    found = Path(os.environ.get("FASHION_MNIST", _INSTALLED))
    if not found.is_dir():
        raise InputError(f"Fashion-MNIST is not in {found}: install Debian's dataset-fashion-mnist "
                         "(apt-get install dataset-fashion-mnist), or set FASHION_MNIST to a "
                         "folder with its four .gz files")  # fmt: skip
    return found


def load(split: Literal["train", "test"]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images (N, 28, 28) and labels (N,): 60,000 for training, 10,000 held out.

    Raises:
        InputError: a file is missing or is not what it should be.
    """
    name, count = _FILES[split]
    where = folder()
    images = _read(where / f"{name}-images-idx3-ubyte.gz", _IMAGES, (count, SIDE, SIDE))
    labels = _read(where / f"{name}-labels-idx1-ubyte.gz", _LABELS, (count,))
    if labels.max() >= len(CLASSES):
        raise InputError(f"{where} has a label beyond {len(CLASSES) - 1}: it is another data set")
    return images, labels


def _read(path: Path, magic: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """One IDX file of unsigned bytes: magic number, sizes (big-endian), content."""
    header = np.array([magic, *shape], dtype=">u4").tobytes()
    size = len(header) + int(np.prod(shape))
    try:
        with gzip.open(path) as file:
            content = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    if len(content) != size or not content.startswith(header):
        raise InputError(f"{path} is not Fashion-MNIST's file of {shape}: install it again")
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape)
