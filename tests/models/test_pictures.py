"""From files and arrays to what a network takes, and everything that cannot be used."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veilform.errors import InputError, ModelError
from veilform.models.vision import pictures
from veilform.models.vision.images import ImageEncoder
from veilform.models.vision.preprocess import PREPROCESSOR, Preprocessing, Size

GREY, RGB = (6, 8, 1), (6, 8, 3)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def pixels(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def saved(array: np.ndarray, kind: str) -> bytes:
    image = pytest.importorskip("PIL.Image")
    out = io.BytesIO()
    image.fromarray(array).save(out, kind)
    return out.getvalue()


def encoder(image: tuple[int, int, int], how: Preprocessing | None = None) -> ImageEncoder:
    return ImageEncoder(image, how or Preprocessing.resizing(image))


# Files


@pytest.mark.parametrize("kind", ["PNG", "PPM", "BMP", "WEBP"])
@pytest.mark.parametrize("shape", [(6, 8), (6, 8, 3)])
def test_files_hold_the_pixels_that_were_saved(kind: str, shape: tuple[int, ...]) -> None:
    array = pixels(shape)
    if kind == "WEBP":
        array = np.full(shape, 77, np.uint8)  # it loses what is not flat
    channels = 3 if len(shape) == 3 else 1
    (found,) = encoder((6, 8, channels)).encode([saved(array, kind)])
    assert np.abs(found - array.reshape(6, 8, channels) / 255).max() < 0.01


def test_grey_becomes_rgb_and_rgb_grey(tmp_path: Path) -> None:
    grey = pixels((6, 8))
    path = tmp_path / "grey.pgm"
    path.write_bytes(saved(grey, "PPM"))
    (found,) = encoder(RGB).encode([path])
    assert np.allclose(found, np.repeat(grey[..., None], 3, axis=2) / 255)
    (found,) = encoder(GREY).encode([saved(np.repeat(grey[..., None], 3, axis=2), "PNG")])
    assert np.abs(found[..., 0] - grey / 255).max() < 1.1 / 255


def test_a_palette_with_transparency_and_a_photograph_on_its_side() -> None:
    image = pytest.importorskip("PIL.Image")
    out = io.BytesIO()
    image.fromarray(pixels((6, 8, 3))).convert("P").save(out, "PNG", transparency=b"\x00\x10")
    assert encoder(RGB).encode([out.getvalue()])[0].shape == RGB
    out, upright = io.BytesIO(), np.zeros((8, 6, 3), np.uint8)
    upright[:, :3] = 255
    exif = image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a right angle
    image.fromarray(upright).save(out, "PNG", exif=exif)
    (found,) = encoder(RGB).encode([out.getvalue()])
    assert found[:3].min() == 1.0
    assert found[3:].max() == 0.0


def bomb(width: int, height: int) -> bytes:
    """A PNG file of a few bytes that tells of a picture of that size."""

    def chunk(name: bytes, data: bytes) -> bytes:
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"")), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is no picture of a format"),
        (b"GIF89a" + bytes(40), "is no picture of a format"),
        (b"#!/bin/sh\nrm -r\n" * 9, "is no picture of a format"),
        (bomb(1 << 14, 1 << 14), "is larger than 64 million pixels"),
        (bomb(1 << 20, 1 << 20), "is larger than 64 million pixels"),
        (bomb(8, 6), "is damaged or cut off"),
    ],
)
def test_files_that_are_no_pictures(tmp_path: Path, content: bytes, why: str) -> None:
    pytest.importorskip("PIL")
    path = tmp_path / "given.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=why) as told:
        encoder(GREY).encode([path])
    assert str(path) in str(told.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "PPM", "BMP", "WEBP"])
def test_files_that_are_cut_off(kind: str) -> None:
    content = saved(pixels((40, 50, 3)), kind)
    for size in (len(content) // 3, 2 * len(content) // 3):
        with pytest.raises(InputError, match="image 1 is"):
            encoder(RGB).encode([content[:size]])


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1 << 16), at=st.integers(0, 400), byte=st.integers(0, 255))
def test_a_damaged_file_is_read_or_refused(seed: int, at: int, byte: int) -> None:
    content = bytearray(saved(pixels((6, 8, 3), seed), "JPEG" if seed % 2 else "PNG"))
    content[at % len(content)] = byte
    try:
        (found,) = encoder(RGB).encode([bytes(content)])
    except InputError:
        return
    assert found.shape == RGB
    assert 0 <= found.min() <= found.max() <= 1


def test_too_many_bits_and_paths_that_are_no_files(tmp_path: Path) -> None:
    deep = saved(np.full((6, 8), 40_000, np.uint16), "PNG")
    with pytest.raises(InputError, match="more than 8 bits"):
        encoder(GREY).encode([deep])
    for path in (tmp_path / "none.png", tmp_path, Path("nul\0l")):
        with pytest.raises(InputError, match=r"there is no file|cannot read"):
            encoder(GREY).encode([path])
    with pytest.raises(InputError, match="1 or 3 channels"):
        encoder((6, 8, 2)).encode([saved(pixels((6, 8)), "PNG")])


def test_without_pillow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    path = tmp_path / "a.png"
    path.write_bytes(b"x")
    with pytest.raises(InputError, match=r"pip install 'veilform\[images\]'"):
        encoder(GREY).encode([path])
    with pytest.raises(InputError, match=r"pip install 'veilform\[images\]'"):
        encoder(GREY).encode([pixels((9, 9, 1))])
    assert encoder(GREY).encode([pixels(GREY)])[0].shape == GREY, "the size is right: no need"


# Arrays


def test_an_image_goes_to_another_process_and_back() -> None:
    one = encoder(GREY)
    (image,) = one.encode([pixels(GREY)])
    assert np.array_equal(one.unpacked(one.packed(image)), image)
    assert one.pad([image, image]).shape.batch == 2


def test_pixels_and_numbers() -> None:
    how = Preprocessing(do_normalize=True, image_mean=MEAN, image_std=STD)
    array = pixels(RGB)
    wanted = (array / 255 - np.array(MEAN)) / np.array(STD)
    as_pixels, as_floats = encoder(RGB, how).encode([array, wanted])
    assert np.allclose(as_pixels, wanted)
    assert np.array_equal(as_floats, wanted)
    (flat,) = encoder(GREY, Preprocessing()).encode([pixels((6, 8))])
    assert flat.shape == GREY


@pytest.mark.parametrize(
    ("given_", "why"),
    [
        (pixels((6, 8, 3)), "takes H x W x 1"),
        (pixels((6, 8, 1, 1)), "takes H x W x 1"),
        (pixels((0, 8, 1)), "takes H x W x 1"),
        (np.zeros((6, 9, 1)), "6 x 9 x 1 numbers, but the model takes 6 x 8 x 1"),
        (np.zeros(GREY, np.int64), "an array of int64"),
        (np.zeros(GREY, object), "an array of object"),
        ("secret.png", "is a str, not a picture"),
        (None, "is a NoneType"),
        (7, "is a int"),
    ],
)
def test_arrays_that_do_not_fit(given_: object, why: str) -> None:
    with pytest.raises(InputError, match=f"image 2 is .*{why}|image 2.*{why}") as told:
        encoder(GREY).encode([pixels(GREY), given_])
    assert "secret" not in str(told.value)


def test_no_image_at_all() -> None:
    for given_ in ([], ()):
        with pytest.raises(InputError, match="no image"):
            encoder(GREY).encode(given_)
    with pytest.raises(InputError, match="images take over 4 GiB: give fewer"):
        ImageEncoder((1 << 14, 1 << 14, 3), Preprocessing()).encode([None])
    with pytest.raises(InputError, match="a list of images"):
        encoder(GREY).encode(pixels(GREY))


def test_pillow_s_images() -> None:
    image = pytest.importorskip("PIL.Image")
    array = pixels((6, 8))
    (found,) = encoder(GREY).encode([image.fromarray(array)])
    assert np.allclose(found[..., 0], array / 255)
    lazy = image.open(io.BytesIO(saved(pixels((60, 80)), "PNG")[:900]))
    with pytest.raises(InputError, match="image 1 is damaged"):
        encoder(GREY).encode([lazy])


# Preprocessing


def test_sizes_are_those_of_torchvision() -> None:
    """Resize(256) and CenterCrop(224), as every ImageNet model is evaluated."""
    how = Preprocessing(
        do_resize=True, size=Size(shortest_edge=256), do_center_crop=True, crop_size=Size(224, 224)
    )
    assert how.resized(480, 640, (224, 224, 3)) == (256, 341)
    assert how.resized(333, 500, (224, 224, 3)) == (256, 384)
    assert how.resized(500, 333, (224, 224, 3)) == (384, 256)
    array = np.zeros((256, 341, 3), np.uint8)
    array[16, 58] = 1
    cut = how.framed(array, (224, 224, 3))
    assert cut.shape == (224, 224, 3)
    assert cut[0, 0].tolist() == [1, 1, 1]
    how.check((224, 224, 3))


def test_padding_is_around_the_middle() -> None:
    pytest.importorskip("PIL")
    how = Preprocessing(do_pad=True, pad_size=32)
    (found,) = ImageEncoder((32, 32, 1), how).encode([np.full((28, 28), 255, np.uint8)])
    assert found[2:30, 2:30].min() == 1
    assert found.sum() == 28 * 28
    with pytest.raises(InputError, match="does not resize"):
        ImageEncoder((32, 32, 1), how).encode([np.full((33, 28), 255, np.uint8)])


def test_a_long_strip_is_not_blown_up() -> None:
    pillow = pytest.importorskip("PIL.Image")
    how = Preprocessing(do_resize=True, size=Size(shortest_edge=224), do_center_crop=True,
                        crop_size=224)  # fmt: skip
    with pytest.raises(InputError, match="too long and narrow"):
        ImageEncoder((224, 224, 1), how).encode([np.zeros((1, 1000), np.uint8)])
    assert ImageEncoder((224, 224, 1), how).encode([np.zeros((4, 200), np.uint8)])
    with pytest.raises(InputError, match="empty"):
        ImageEncoder((224, 224, 1), how).encode([pillow.new("L", (0, 9))])


@settings(deadline=None, max_examples=40)
@given(
    mean=st.tuples(*[st.floats(-2, 2)] * 3),
    std=st.tuples(*[st.floats(0.01, 3)] * 3),
    seed=st.integers(0, 99),
)
def test_no_picture_is_beyond_the_bound(
    mean: tuple[float, ...], std: tuple[float, ...], seed: int
) -> None:
    how = Preprocessing(do_normalize=True, image_mean=mean, image_std=std)
    extremes = np.array([[[0, 255, 0], [255, 0, 255]]], np.uint8)
    bound = how.largest(3)
    assert np.abs(how.entries(pixels((4, 4, 3), seed))).max() <= bound
    assert np.abs(how.entries(extremes)).max() <= bound


def test_hugging_face_s_file_is_read(tmp_path: Path) -> None:
    (tmp_path / PREPROCESSOR).write_text(
        '{"crop_pct": null, "do_normalize": true, "do_resize": true, "do_rescale": true, '
        '"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], '
        '"image_processor_type": "ConvNextImageProcessor", "resample": 3, '
        '"rescale_factor": 0.00392156862745098, "size": {"height": 224, "width": 224}}'
    )
    how = Preprocessing.read(tmp_path, (224, 224, 3))
    assert how.largest(3) == pytest.approx((1 - 0.406) / 0.225)
    again = tmp_path / "again"
    again.mkdir()
    how.save(again)
    assert Preprocessing.read(again, (224, 224, 3)) == how


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("[]", "malformed"),
        ('{"image_mean": "x"}', "malformed"),
        ('{"do_normalize": true, "image_mean": [0.1, 0.2]}', "2 numbers for 3 channels"),
        ('{"do_normalize": true, "image_std": 0}', "must be finite, std > 0"),
        ('{"rescale_factor": 2}', "rescale_factor"),
        ('{"do_resize": true, "size": {"height": 7, "width": 8}}', "7 x 8 pixels, but the network"),
        ('{"do_center_crop": true, "crop_size": {"height": 7}}', "needs a height and a width"),
    ],
)
def test_preprocessing_that_cannot_be_used(tmp_path: Path, content: str, why: str) -> None:
    (tmp_path / PREPROCESSOR).write_text(content)
    with pytest.raises(ModelError, match=why):
        Preprocessing.read(tmp_path, RGB)


def test_formats_are_bounded() -> None:
    """Decoders of rare formats are where decoders break."""
    assert set(pictures.FORMATS) == {"PNG", "JPEG", "PPM", "BMP", "WEBP"}
