"""Fashion-MNIST's files: what is there is read, anything else is told."""

import gzip

import numpy as np
import pytest

from veilform.errors import InputError
from veilform.vision import fashion


@pytest.fixture
def installed():
    """Skip where the data set is not installed."""
    try:
        return fashion.folder()
    except InputError as error:
        pytest.skip(str(error))


def test_both_splits_are_balanced(installed):
    for split, each in (("train", 6000), ("test", 1000)):
        images, labels = fashion.load(split)
        assert images.shape == (10 * each, 28, 28)
        assert np.bincount(labels).tolist() == [each] * 10


def test_a_missing_folder_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("FASHION_MNIST", str(tmp_path / "none"))
    with pytest.raises(InputError, match="dataset-fashion-mnist"):
        fashion.load("test")


@pytest.mark.parametrize("spoil", ["short", "long", "magic", "no gzip", "cut gzip", "missing"])
def test_a_spoilt_file_is_refused(monkeypatch, tmp_path, spoil):
    monkeypatch.setenv("FASHION_MNIST", str(tmp_path))
    header = np.array([0x803, 10_000, 28, 28], dtype=">u4").tobytes()
    content = header + bytes(10_000 * 28 * 28)
    content = {"short": content[:-1], "long": content + b"x", "magic": b"\1" + content[1:]}.get(
        spoil, content
    )
    packed = content if spoil == "no gzip" else gzip.compress(content, 1)
    if spoil != "missing":
        path = tmp_path / "t10k-images-idx3-ubyte.gz"
        path.write_bytes(packed[:-20] if spoil == "cut gzip" else packed)
    with pytest.raises(InputError, match="t10k-images"):
        fashion.load("test")
