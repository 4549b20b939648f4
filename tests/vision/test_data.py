"""Pictures of one's own: an NPZ file, a folder; anything else is told."""

import numpy as np
import pytest

from veilform.errors import InputError
from veilform.vision import data


def test_an_npz_file(npz):
    found = data.load(str(npz))
    assert found.shape == (12, 12, 1)
    assert found.classes == ("0", "1", "2")
    assert found.fitted == "as they are"
    assert [len(part.labels) for part in (found.train, found.dev, found.test)] == [220, 20, 48]
    again = data.load(str(npz), (12, 12, 1))
    assert np.array_equal(again.dev.images, found.dev.images), "the same are held out each time"
    assert len(found.limited(7).train.labels) == 7


def test_statistics_normalise(npz):
    found = data.load(str(npz)).train
    mean, std = data.statistics(found)
    scaled = (found.images / 255 - mean) / std
    assert abs(scaled.mean()) < 0.01
    assert abs(scaled.std() - 1) < 0.01


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        ({}, "has no images and labels; it has nothing"),
        ({"images": np.zeros((9, 4, 4), np.uint8)}, "has no images and labels"),
        ({"images": np.zeros((9, 4, 4)), "labels": np.zeros(9, int)}, "must be bytes"),
        ({"images": np.zeros((9, 4), np.uint8), "labels": np.zeros(9, int)}, "must be bytes"),
        ({"images": np.zeros((0, 4, 4), np.uint8), "labels": np.zeros(0, int)}, "must be bytes"),
        ({"images": np.zeros((9, 4, 4), np.uint8), "labels": np.zeros(8, int)}, "9 whole numbers"),
        ({"images": np.zeros((9, 4, 4), np.uint8), "labels": np.zeros(9)}, "9 whole numbers"),
        ({"images": np.zeros((9, 4, 4), np.uint8), "labels": np.full(9, -1)}, "from 0 to"),
        ({"images": np.zeros((2, 4, 4), np.uint8), "labels": np.zeros(2, int)}, "too few"),
    ],
)
def test_an_npz_file_that_is_none(tmp_path, arrays, why):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=why):
        data.load(str(tmp_path / "a.npz"))


def test_files_and_names_that_are_nothing(npz, tmp_path):
    np.savez(tmp_path / "objects.npz", images=np.array([{}]))
    np.savez(tmp_path / "cut.npz", images=np.zeros((9, 4, 4), np.uint8))
    whole = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole.replace(b"(9, 4, 4)", b"(9999999999, 4, 4)", 1))
    (tmp_path / "text.npz").write_text("no zip")
    np.save(tmp_path / "array.npz", np.zeros(3))
    (tmp_path / "array.npz.npy").rename(tmp_path / "array.npz")
    for name, why in (
        ("objects", "give numbers"), ("cut", "no NPZ file"), ("text", "no NPZ file"),
        ("array", "no NPZ file"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=why):
            data.load(str(tmp_path / f"{name}.npz"))
    for name in ("none", "none.npz", ""):
        with pytest.raises(InputError, match="give fashion_mnist"):
            data.load(str(tmp_path / name) if name else "\0")
    with pytest.raises(InputError, match="12 x 12 x 1, but the network takes 12 x 12 x 3"):
        data.load(str(npz), (12, 12, 3))


@pytest.fixture
def pictures(tmp_path):
    """A folder of three classes, with a picture of each kind of size and colour."""
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    rng = np.random.default_rng(0)
    for part, count in (("train", 6), ("test", 2)):
        for name in ("cat", "dog", "eel"):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (10 + i, 9, 3), np.uint8)
                file = tmp_path / part / name / f"{i}.{('png', 'bmp')[i % 2]}"
                image.fromarray(pixels if i else pixels[..., 0]).save(file)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("not a picture")
    return tmp_path


def test_a_folder(pictures):
    found = data.load(str(pictures), (8, 8, 3))
    assert found.shape == (8, 8, 3)
    assert found.classes == ("cat", "dog", "eel")
    assert found.fitted == "resized"
    assert np.bincount(found.test.labels).tolist() == [2, 2, 2]
    assert len(found.train.labels) + len(found.dev.labels) == 18
    grey = data.load(str(pictures), (8, 8, 1))
    assert grey.shape == (8, 8, 1)


def test_a_folder_that_is_none(pictures, tmp_path):
    with pytest.raises(InputError, match="1 or 3 channels"):
        data.load(str(pictures), (8, 8, 2))
    (pictures / "test" / "fox").mkdir()
    with pytest.raises(InputError, match="classes that train has not: fox"):
        data.load(str(pictures), (8, 8, 1))
    (pictures / "test" / "fox").rmdir()
    broken = pictures / "train" / "dog" / "1.bmp"
    broken.write_bytes(broken.read_bytes()[:40])
    with pytest.raises(InputError, match=r"1\.bmp is no picture|1\.bmp is damaged"):
        data.load(str(pictures), (8, 8, 1))
    with pytest.raises(InputError, match="no folder train"):
        data.load(str(pictures / "train"), (8, 8, 1))
    lone = tmp_path / "lone" / "train"
    (lone / "one").mkdir(parents=True)
    with pytest.raises(InputError, match="two classes or more"):
        data.load(str(lone.parent), (8, 8, 1))
    (lone / "two").mkdir()
    with pytest.raises(InputError, match="has no pictures"):
        data.load(str(lone.parent), (8, 8, 1))
