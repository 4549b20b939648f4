"""Labelled pictures: a folder of them, an IDX file such as MNIST's, or Fashion-MNIST by name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from veilform.errors import InputError
from veilform.models.vision.pictures import SUFFIXES
from veilform.vision import fashion, idx
from veilform.vision.fashion import FASHION

MOST_FILES = 1_000_000


class Labelled(NamedTuple):
    """Pictures, as files or pixels (H, W), and the label of each, numbered as the model's."""

    images: Sequence[Any]
    labels: list[int]


def labelled(
    source: str,
    names: Sequence[str],
    count: int = 0,
    split: Literal["train", "test"] = "test",
) -> Labelled:
    """Labelled pictures for a model.

    Args:
        source: "fashion_mnist"; a folder with a folder of pictures for each label; or an IDX file
            of images, whose labels are beside it under MNIST's name for them.
        names: the model's labels. A folder may also be called by a label's number.
        count: the first so many; 0 for all. Of folders, as many of each label as go.

    Raises:
        InputError: it cannot be read, or its labels are not the model's.
    """
    if source == FASHION:
        images, labels = fashion.load(split)
    elif Path(source).is_dir():
        return _folders(Path(source), names, count)
    elif Path(source).is_file():
        images, labels = _idx_pair(Path(source))
    else:
        raise InputError(f"{source} is no folder, no IDX file, and not {FASHION!r}")
    if labels.size and labels.max() >= len(names):
        raise InputError(f"{source} has a label {labels.max()}, the model has {len(names)}")
    chosen = slice(count or None)
    return Labelled(list(images[chosen]), [int(label) for label in labels[chosen]])


def unlabelled(source: str, count: int = 0) -> Sequence[Any]:
    """Pictures to calibrate on, of the sources of `labelled`; a folder's at any depth in it.

    Raises:
        InputError: it cannot be read, or there is no picture.
    """
    if source == FASHION:
        return list(fashion.load("train")[0][: count or None])
    path = Path(source)
    if path.is_file() and path.suffix.lower() not in SUFFIXES:
        return list(idx.read(path, 3)[: count or None])
    found = _spread([_pictures(path)] if path.is_dir() else [[path]], count)
    if not found or not path.exists():
        raise InputError(f"there is no picture in {source}: {', '.join(SUFFIXES)} are read")
    return found


def _folders(source: Path, names: Sequence[str], count: int) -> Labelled:
    numbers = {str(i): i for i in range(len(names))} | {n.lower(): i for i, n in enumerate(names)}
    by_label: dict[int, list[Path]] = {}
    for folder in sorted(each for each in _entries(source) if each.is_dir()):
        # A label such as T-shirt/top cannot be a folder's name.
        called = {folder.name.lower(), folder.name.lower().replace("_", "/")}
        label = next((numbers[each] for each in sorted(called) if each in numbers), None)
        if label is None:
            raise InputError(f"{folder} is called by no label of the model, nor by its number")
        by_label.setdefault(label, []).extend(_pictures(folder))
    if not any(by_label.values()):
        raise InputError(f"{source} has no folder of pictures for each label")
    pairs = [[(path, label) for path in paths] for label, paths in by_label.items()]
    chosen = _spread(pairs, count)
    return Labelled([path for path, _ in chosen], [label for _, label in chosen])


def _spread(groups: Sequence[Sequence[Any]], count: int) -> list[Any]:
    """The first of each group, the second of each, and so on."""
    longest = max(map(len, groups), default=0)
    found = [group[i] for i in range(longest) for group in groups if i < len(group)]
    return found[: count or None]


def _pictures(folder: Path) -> list[Path]:
    found = []
    for where, _, names in os.walk(folder):
        found += [Path(where) / n for n in names if Path(n).suffix.lower() in SUFFIXES]
        if len(found) > MOST_FILES:
            raise InputError(f"{folder} has more than {MOST_FILES} pictures")
    return sorted(found)


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise InputError(f"cannot read {folder}: {error.strerror}") from None


def _idx_pair(images: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    name = images.name.replace("images", "labels").replace("idx3", "idx1")
    labels = images.with_name(name)
    if labels == images:
        raise InputError(
            f"{images} is neither a folder nor an IDX file of images: its name has no 'images'"
        )
    if not labels.is_file():
        raise InputError(f"{images} has no labels beside it: {name} is expected there")
    found = idx.read(images, 3), idx.read(labels, 1)
    if len(found[0]) != len(found[1]):
        raise InputError(f"{images} has {len(found[0])} images, {labels} {len(found[1])} labels")
    return found
