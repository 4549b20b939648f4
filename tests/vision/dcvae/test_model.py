"""DCVAE as a user has it: fit, use, keep, read again; and what it refuses."""

import io

import numpy as np
import pytest
from tests.vision.dcvae.tiny import pictures, tiny, torch

from veilform.errors import InputError, ModelError
from veilform.vision.dcvae import state
from veilform.vision.dcvae.images import from_folder, grid, write_png
from veilform.vision.dcvae.model import DCVAE


@pytest.fixture(scope="module")
def fitted():
    return DCVAE(tiny()).fit(pictures())


def test_a_fit_writes_grids_and_goes_on(tmp_path):
    told = []
    where = tmp_path / "a"
    DCVAE(tiny(steps=4)).fit(pictures(), where, told.append, reports=2, checkpoints=2, grids=4)
    assert [report["step"] for report in told] == [2, 4]
    assert sorted(p.name for p in where.iterdir()) == ["step-0000004.png", state.STATE]
    again = DCVAE(tiny(steps=6)).fit(pictures(), where, told.append, reports=1)
    assert [report["step"] for report in told[2:]] == [5, 6], "it did not go on"
    whole = DCVAE(tiny(steps=6)).fit(pictures())
    assert np.array_equal(again.sample(3), whole.sample(3)), "grids have changed the training"


def test_what_is_kept_is_what_is_read(tmp_path, fitted):
    fitted.save_pretrained(tmp_path)
    again = DCVAE.from_pretrained(tmp_path)
    assert again.config == fitted.config
    x = pictures(5, seed=1)
    np.testing.assert_allclose(again.encode(x), fitted.encode(x), atol=1e-5)
    np.testing.assert_allclose(again.features(x), fitted.features(x), atol=1e-5)
    z = fitted.latents(5)
    assert np.array_equal(again.decode(z), fitted.decode(z))
    trained = DCVAE(tiny()).fit(pictures())
    assert np.array_equal(trained.decode(z), fitted.decode(z)), "saving changes nothing"


def test_shapes_and_kinds(fitted):
    x = pictures(3)
    assert fitted.encode(x).shape == (3, 4)
    grey = fitted.encode(x[..., 0])
    np.testing.assert_allclose(grey, fitted.encode(x), atol=1e-5, err_msg="the last axis is added")
    assert fitted.reconstruct(x).shape == (3, 16, 16, 1)
    assert fitted.reconstruct(x).dtype == np.uint8
    np.testing.assert_allclose(np.linalg.norm(fitted.features(x), axis=1), 1, atol=1e-5)
    row = fitted.interpolate(x[:2], x[1:], 5)
    assert row.shape == (2, 5, 16, 16, 1)
    ends = fitted.reconstruct(x)
    assert np.abs(row[:, 0].astype(int) - ends[:2]).max() <= 1
    assert np.abs(row[:, -1].astype(int) - ends[1:]).max() <= 1


def test_truncation_is_asked_for(fitted):
    free = fitted.latents(4000)
    assert np.abs(free).max() > 3, "samples come from the whole prior"
    cut = fitted.latents(4000, truncation=0.5)
    assert np.abs(cut).max() <= 0.5
    assert len(np.unique(cut)) > 15_000, "entries are drawn again, not clamped"
    assert np.array_equal(fitted.sample(2, seed=3), fitted.sample(2, seed=3))
    assert not np.array_equal(fitted.sample(2, seed=3), fitted.sample(2, seed=4))


@pytest.mark.parametrize(
    ("images", "why"),
    [
        (pictures(channels=3), "3 channels, but the model 1"),
        (pictures(size=20), "20 x 20, but the model's 16 x 16"),
        (pictures() / 255.0, "uint8"),
        (pictures()[:0], "shape"),
        (pictures()[0, 0], "shape"),
    ],
)
def test_images_that_do_not_suit(fitted, images, why):
    for use in (fitted.encode, fitted.reconstruct, DCVAE(tiny()).fit):
        with pytest.raises(InputError, match=why):
            use(images)


def test_latents_and_calls_that_make_no_sense(fitted):
    for latents in (np.zeros((2, 3)), np.zeros(4), np.full((1, 4), np.nan)):
        with pytest.raises(InputError, match="latents are N x 4"):
            fitted.decode(latents)
    for count, truncation in ((0, None), (1, 0.0), (1, -1.0)):
        with pytest.raises(InputError, match="cannot draw"):
            fitted.sample(count, truncation)
    with pytest.raises(InputError, match="pairs of images"):
        fitted.interpolate(pictures(2), pictures(3))
    with pytest.raises(InputError, match="one image is too few"):
        DCVAE(tiny()).fit(pictures(1))
    with pytest.raises(ModelError, match="no dual encoder"):
        DCVAE(tiny("vae")).features(pictures(1))


def test_folders_that_are_no_model(tmp_path, fitted):
    with pytest.raises(ModelError, match=r"has no config\.json"):
        DCVAE.from_pretrained(tmp_path)
    fitted.save_pretrained(tmp_path)
    weights = tmp_path / "decoder" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(ModelError, match="not sound"):
        DCVAE.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"size": 24}')
    with pytest.raises(ModelError, match="power of two"):
        DCVAE.from_pretrained(tmp_path)


def test_sixty_four_pixels_and_three_channels():
    model = DCVAE(tiny(size=64, channels=3, steps=2, every=1)).fit(pictures(4, 64, 3))
    assert model.sample(2).shape == (2, 64, 64, 3)
    assert model.encode(pictures(2, 64, 3)).shape == (2, 4)


def test_png_files_are_what_pillow_reads(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for channels, mode in ((1, "L"), (3, "RGB")):
        picture = grid(pictures(5, 8, channels), 3)
        assert picture.shape == (19, 28, channels)
        write_png(tmp_path / "a.png", picture, 2)
        with image.open(tmp_path / "a.png") as read:
            assert read.mode == mode
            found = np.asarray(read).reshape(38, 56, channels)
        assert np.array_equal(found[::2, ::2], picture)
    with pytest.raises(InputError, match="2 channels"):
        write_png(tmp_path / "b.png", np.zeros((2, 2, 2), np.uint8))


def test_a_folder_of_pictures(tmp_path):
    image = pytest.importorskip("PIL.Image")
    with pytest.raises(InputError, match="is no folder"):
        from_folder(tmp_path / "none", 16, 3)
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(InputError, match="has no picture"):
        from_folder(tmp_path, 16, 3)
    wide = np.zeros((20, 40, 3), np.uint8)
    wide[:, 10:30] = (255, 128, 0)
    image.fromarray(wide).save(tmp_path / "b.png")
    image.fromarray(wide[..., 0]).save(tmp_path / "a.png")
    colour, grey = from_folder(tmp_path, 16, 3), from_folder(tmp_path, 16, 1)
    assert colour.shape == (2, 16, 16, 3)
    assert grey.shape == (2, 16, 16, 1)
    assert (colour[1] == (255, 128, 0)).all(), "the middle square, files by name"
    with pytest.raises(InputError, match="1 or 3 channels"):
        from_folder(tmp_path, 16, 2)
    content = io.BytesIO()
    image.fromarray(wide).save(content, "png")
    for broken in (b"", b"no picture", content.getvalue()[:60]):
        (tmp_path / "c.png").write_bytes(broken)
        with pytest.raises(InputError, match=r"c\.png is (no picture|damaged)"):
            from_folder(tmp_path, 16, 3)


def test_pillow_is_asked_for_by_name(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"")
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(InputError, match=r"veilform\[images\]"):
        from_folder(tmp_path, 16, 3)


del torch
