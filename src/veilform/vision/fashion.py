"""Fashion-MNIST: 70,000 labelled grey images of 28 x 28 pixels, ten classes.

Source: Xiao, Rasul and Vollgraf, arXiv 1708.07747 (MIT licence). The files are those of Debian's
package dataset-fashion-mnist, and of every other copy: IDX, gzip.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from veilform.errors import InputError
from veilform.vision import idx

CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
FASHION = "fashion_mnist"
"""Its name where commands take data."""
SIDE = 28
PADDED = 32
_INSTALLED = Path("/usr/share/datasets/fashion-mnist")
_FILES = {"train": ("train", 60_000), "test": ("t10k", 10_000)}


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
    images = _read(where / f"{name}-images-idx3-ubyte.gz", (count, SIDE, SIDE))
    labels = _read(where / f"{name}-labels-idx1-ubyte.gz", (count,))
    if labels.max() >= len(CLASSES):
        raise InputError(f"{where} has a label beyond {len(CLASSES) - 1}: it is another data set")
    return images, labels


def padded(split: Literal["train", "test"]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The same in black frames: images (N, 32, 32, 1), and labels.

    Raises:
        InputError: as `load`.
    """
    images, labels = load(split)
    edges = ((PADDED - SIDE) // 2,) * 2
    return np.pad(images, [(0, 0), edges, edges])[..., None], labels


def _read(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    found = idx.read(path, len(shape), math.prod(shape))
    if found.shape != shape:
        raise InputError(f"{path} is not Fashion-MNIST's file of {shape}: install it again")
    return found
