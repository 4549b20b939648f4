"""Labelled pictures to train and measure with: Fashion-MNIST, a folder of pictures, or an NPZ file.

Pixels stay bytes until a batch is made. A twelfth of the training pictures, drawn by a fixed seed,
is held out as ``dev``; ``test`` is looked at once, at the end.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from veilform.errors import InputError
from veilform.models.vision import pictures
from veilform.models.vision.preprocess import BILINEAR
from veilform.vision import fashion, npy
from veilform.vision.fashion import FASHION

ARRAYS = ("images", "labels", "test_images", "test_labels")
MOST_BYTES = 8 << 30
"""Of an array of an NPZ file."""
_ZIP = (zipfile.BadZipFile, EOFError, RuntimeError)
SIDE = 32
DEV = 12
_SEED = 20


class Split(NamedTuple):
    """Pictures (N, H, W, C) in bytes, and labels (N,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def first(self, count: int | None) -> Split:
        """At most so many of them; all if None."""
        return Split(self.images[:count], self.labels[:count])


@dataclass(frozen=True)
class Pictures:
    """What a network is trained, watched and measured on.

    Attributes:
        classes: names, by label.
        fitted: how pictures of other sizes became these.
    """

    train: Split
    dev: Split
    test: Split
    classes: tuple[str, ...]
    fitted: Literal["as they are", "padded", "resized"] = "as they are"

    def limited(self, count: int | None) -> Pictures:
        """With at most so many to train with; all if None."""
        return replace(self, train=self.train.first(count))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels


def load(source: str, shape: tuple[int, int, int] | None = None) -> Pictures:
    """Pictures of ``fashion_mnist``, of a folder, or of an NPZ file.

    A folder has ``train/CLASS/*.png`` (or another of ``pictures.SUFFIXES``) and, if it has them,
    ``test/CLASS/*``; an NPZ file has ``images`` (N, H, W) or (N, H, W, C) and ``labels`` (N,) and,
    if it has them, ``test_images`` and ``test_labels``. Without a test part another twelfth is held
    out.

    Args:
        shape: height, width, channels that a network takes. Files are resized to it; arrays must
            have it. Without one, files become 32 x 32 in colour.

    Raises:
        InputError: there is nothing, or it does not fit; the message says what to do.
    """
    if source == FASHION:
        found = _fashion()
    elif Path(source).is_dir():
        found = _folder(Path(source), shape or (SIDE, SIDE, 3))
    elif Path(source).suffix == ".npz" and Path(source).is_file():
        found = _npz(Path(source))
    else:
        raise InputError(f"no data in {source!r}: give {FASHION}, a folder with train/CLASS/*.png, "
                         "or an .npz file with images and labels")  # fmt: skip
    if shape is not None and found.shape != shape:
        have, want = (" x ".join(map(str, one)) for one in (found.shape, shape))
        raise InputError(f"pictures of {source} are {have}, but the network takes {want}")
    return found


def statistics(split: Split) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel, of pixels in [0, 1], in four digits."""
    some = split.images[:10_000].astype(np.float64) / 255
    mean, std = some.mean((0, 1, 2)), some.std((0, 1, 2))
    return tuple(np.round(mean, 4).tolist()), tuple(np.round(np.maximum(std, 0.01), 4).tolist())


def _fashion() -> Pictures:
    parts = []
    for images, labels in (fashion.padded("train"), fashion.padded("test")):
        parts.append(Split(images, labels.astype(np.int64)))
    return replace(_held_out(*parts, fashion.CLASSES), fitted="padded")


def _held_out(train: Split, test: Split | None, classes: Sequence[str]) -> Pictures:
    order = np.random.default_rng(_SEED).permutation(len(train.labels))
    each = max(1, len(order) // DEV)
    if len(order) < 3 * max(1, each):
        raise InputError(f"{len(order)} pictures are too few to train with and to hold some out")
    if test is None:
        chosen, order = np.sort(order[:each]), order[each:]
        test = Split(train.images[chosen], train.labels[chosen])
    dev, rest = np.sort(order[:each]), np.sort(order[each:])
    return Pictures(
        Split(train.images[rest], train.labels[rest]),
        Split(train.images[dev], train.labels[dev]),
        test,
        tuple(classes),
    )


def _npz(path: Path) -> Pictures:
    arrays: dict[str, NDArray[np.generic]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            held = archive.namelist()
            for array in ARRAYS:
                if (name := f"{array}.npy") not in held:
                    continue
                if archive.getinfo(name).file_size > MOST_BYTES:
                    raise InputError(f"{name} of {path} has over {MOST_BYTES >> 30} GiB")
                arrays[array] = npy.parse(archive.read(name), f"{name} of {path}")
    except (OSError, ValueError, NotImplementedError, zlib.error, *_ZIP) as error:
        raise InputError(f"{path} is no NPZ file of plain arrays: {error}") from None
    train = _arrays(path, arrays, "images", "labels")
    test = None
    if "test_images" in arrays:
        test = _arrays(path, arrays, "test_images", "test_labels")
        if test.images.shape[1:] != train.images.shape[1:]:
            raise InputError(f"test_images of {path} have another shape than images")
    most = max(int(part.labels.max()) for part in (train, test) if part is not None)
    return _held_out(train, test, [str(label) for label in range(most + 1)])


def _arrays(path: Path, arrays: dict[str, NDArray[np.generic]], name: str, by: str) -> Split:
    if name not in arrays or by not in arrays:
        raise InputError(f"{path} has no {name} and {by}; it has {', '.join(arrays) or 'nothing'}")
    images, labels = arrays[name], arrays[by]
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype != np.uint8 or images.ndim != 4 or not images.size:
        raise InputError(f"{name} of {path} must be bytes of (N, H, W) or (N, H, W, C)")
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"{by} of {path} must be {len(images)} whole numbers")
    if int(labels.min()) < 0 or int(labels.max()) >= 1 << 14:
        raise InputError(f"{by} of {path} must be from 0 to {(1 << 14) - 1}")
    return Split(images.astype(np.uint8, copy=False), labels.astype(np.int64))


def _folder(path: Path, shape: tuple[int, int, int]) -> Pictures:
    train, test = path / "train", path / "test"
    if not train.is_dir():
        raise InputError(f"{path} has no folder train with a folder of pictures for each class")
    classes = sorted(one.name for one in train.iterdir() if one.is_dir())
    if len(classes) < 2:
        raise InputError(f"{train} needs a folder of pictures for each of two classes or more")
    held = _read_split(test, classes, shape) if test.is_dir() else None
    found = _held_out(_read_split(train, classes, shape), held, classes)
    return replace(found, fitted="resized")


def _read_split(path: Path, classes: Sequence[str], shape: tuple[int, int, int]) -> Split:
    unknown = sorted({one.name for one in path.iterdir() if one.is_dir()} - set(classes))
    if unknown:
        raise InputError(f"{path} has classes that train has not: {', '.join(unknown)}")
    images, labels = [], []
    for label, name in enumerate(classes):
        files = sorted((path / name).glob("*")) if (path / name).is_dir() else []
        for file in files:
            if file.suffix.lower() in pictures.SUFFIXES:
                images.append(_picture(file, shape))
                labels.append(label)
    if not images:
        raise InputError(f"{path} has no pictures ({', '.join(pictures.SUFFIXES)})")
    return Split(np.stack(images), np.array(labels, np.int64))


def _picture(file: Path, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    height, width, channels = shape
    return pictures.resize(pictures.read(file, str(file), channels), (height, width), BILINEAR)
