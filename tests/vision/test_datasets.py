"""Labelled pictures from folders, IDX files and Fashion-MNIST; what is none of these is told."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from veilform.errors import InputError
from veilform.vision import datasets, fashion
from veilform.vision import idx as idx_files

NAMES = ("T-shirt/top", "coat", "bag")


def tree(folder: Path, names: dict[str, int]) -> Path:
    for name, count in names.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            (folder / name / f"{i}.png").touch()
        (folder / name / "notes.txt").touch()
    return folder


def idx(path: Path, array: np.ndarray, kind: int = 8) -> Path:
    header = bytes([0, 0, kind, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    content = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def test_folders_by_name_and_by_number(tmp_path: Path) -> None:
    source = tree(tmp_path / "data", {"Coat": 3, "t-shirt_top": 1, "2": 2})
    found = datasets.labelled(str(source), NAMES)
    assert sorted(found.labels) == [0, 1, 1, 1, 2, 2]
    for path, label in zip(found.images, found.labels, strict=True):
        assert path.parent.name == {0: "t-shirt_top", 1: "Coat", 2: "2"}[label]
    assert sorted(datasets.labelled(str(source), NAMES, 3).labels) == [0, 1, 2]
    assert len(datasets.unlabelled(str(source))) == 6
    assert len(datasets.unlabelled(str(source), 4)) == 4


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="called by no label"):
        datasets.labelled(str(tree(tmp_path / "a", {"hat": 1})), NAMES)
    with pytest.raises(InputError, match="no folder of pictures"):
        datasets.labelled(str(tree(tmp_path / "b", {"coat": 0})), NAMES)
    (tmp_path / "c").mkdir()
    with pytest.raises(InputError, match="no folder of pictures"):
        datasets.labelled(str(tmp_path / "c"), NAMES)
    with pytest.raises(InputError, match="there is no picture in"):
        datasets.unlabelled(str(tmp_path / "c"))
    for read in (lambda s: datasets.labelled(s, NAMES), datasets.unlabelled):
        with pytest.raises(InputError, match=r"is no folder|there is no picture"):
            read(str(tmp_path / "none"))


@pytest.mark.parametrize("end", ["", ".gz"])
def test_idx_files(tmp_path: Path, end: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 3))
    path = idx(tmp_path / f"t10k-images-idx3-ubyte{end}", images)
    with pytest.raises(InputError, match="no labels beside it: t10k-labels-idx1-ubyte"):
        datasets.labelled(str(path), NAMES)
    idx(tmp_path / f"t10k-labels-idx1-ubyte{end}", np.array([0, 2, 1, 1, 0]))
    found = datasets.labelled(str(path), NAMES, 4)
    assert found.labels == [0, 2, 1, 1]
    assert np.array_equal(found.images, images[:4])
    assert np.array_equal(datasets.unlabelled(str(path), 2), images[:2])
    with pytest.raises(InputError, match="has a label 2, the model has 2"):
        datasets.labelled(str(path), NAMES[:2])


def test_idx_files_that_hold_nothing(tmp_path: Path) -> None:
    path = tmp_path / "none-idx3-ubyte"
    path.write_bytes(struct.pack(">4B3I", 0, 0, 8, 3, 0, 2**32 - 1, 2**32 - 1))
    with pytest.raises(InputError, match="holds nothing"):
        idx_files.read(path, 3)


def test_idx_files_that_are_damaged(tmp_path: Path) -> None:
    images = np.zeros((5, 4, 3))
    whole = idx(tmp_path / "images", images).read_bytes()
    huge = bytes([0, 0, 8, 3]) + b"\xff" * 12
    for content, why in (
        (whole[:-1], "has not the 60 bytes"),
        (whole + b"x", "has not the 60 bytes"),
        (whole[:9], "is no IDX file"),
        (b"", "is no IDX file"),
        (huge, "over the limit"),
    ):
        (tmp_path / "images").write_bytes(content)
        with pytest.raises(InputError, match=why):
            datasets.unlabelled(str(tmp_path / "images"))
    idx(tmp_path / "images", images, kind=13)
    with pytest.raises(InputError, match="is no IDX file"):
        datasets.unlabelled(str(tmp_path / "images"))
    (tmp_path / "images.gz").write_bytes(b"\x1f\x8b" + bytes(9))
    with pytest.raises(InputError, match="cannot be read"):
        datasets.unlabelled(str(tmp_path / "images.gz"))


def test_fashion_mnist_by_its_name() -> None:
    try:
        fashion.folder()
    except InputError as error:
        pytest.skip(str(error))
    found = datasets.labelled("fashion_mnist", fashion.CLASSES, 6)
    assert found.labels == [int(label) for label in fashion.load("test")[1][:6]]
    assert found.images[0].shape == (28, 28)
    assert len(datasets.unlabelled("fashion_mnist", 7)) == 7
