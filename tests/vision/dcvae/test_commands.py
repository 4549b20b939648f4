"""The commands on a folder of pictures, and their errors."""

import json

import numpy as np
import pytest
from tests.vision.dcvae.tiny import pictures, torch

from veilform.vision.dcvae.images import write_png

image = pytest.importorskip("PIL.Image")

FIT = (
    "--size", 16, "--latent", 4, "--generator", 4, "--encoder", 4, "--queue", 8, "--batch", 4,
    "--steps", 6, "--threads", torch.get_num_threads(),
)  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    where = tmp_path / "pictures"
    for i, picture in enumerate(pictures(6, 20, 3)):
        write_png(where / f"{i}.png", picture)
    return where


@pytest.fixture
def fitted(veilform, folder, tmp_path):
    out = tmp_path / "model"
    code, said, complaint = veilform("dcvae", "fit", "--data", folder, "--out", out, *FIT, "--json")
    assert code == 0, complaint
    told = json.loads(said)
    assert told["images"] == 6
    assert told["last"]["step"] == 6
    assert np.isfinite(told["last"]["discriminator"])
    return out


def test_pictures_are_made(veilform, folder, fitted, tmp_path):
    assert (fitted / "decoder" / "clips.json").is_file(), "it cannot be served"
    assert list((fitted / "training").glob("step-*.png"))
    for command, more, size in (
        ("sample", ["--count", 3, "--truncation", 1.0], (1 * 17 + 1, 3 * 17 + 1)),
        ("reconstruct", ["--data", folder, "--count", 4], (1 * 17 + 1, 8 * 17 + 1)),
        ("interpolate", ["--data", folder, "--steps", 5], (3 * 17 + 1, 5 * 17 + 1)),
    ):
        out = tmp_path / f"{command}.png"
        call = ["dcvae", command, fitted, *more, "--out", out, "--scale", 1, "--json"]
        code, said, complaint = veilform(*call)
        assert code == 0, complaint
        assert json.loads(said)["picture"] == str(out)
        with image.open(out) as made:
            assert made.size == size[::-1]


def test_fit_goes_on_only_with_its_own_settings(veilform, folder, fitted):
    call = ["dcvae", "fit", "--data", folder, "--out", fitted, *FIT]
    code, said, _ = veilform(*call)
    assert code == 0
    assert "Wrote" in said
    code, _, complaint = veilform(*call, "--rate", 0.1)
    assert code == 2
    assert "other settings" in complaint


def test_what_cannot_be_done(veilform, folder, fitted, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    corrupt = tmp_path / "corrupt"
    corrupt.mkdir()
    (corrupt / "a.png").write_bytes(b"no picture")
    new = ["--out", tmp_path / "new"]
    sample = ["dcvae", "sample", fitted, "--out"]
    for call, code, why in (
        (["dcvae", "fit", "--data", empty, *new], 2, "has no picture"),
        (["dcvae", "fit", "--data", corrupt, *new], 2, "a.png is no picture"),
        (["dcvae", "fit", "--data", folder, "--size", 24, *new], 2, "power of two"),
        (["dcvae", "fit", "--data", folder, "--channels", 2, *new], 2, "1 or 3 channels"),
        (["dcvae", "fit", "--data", folder, "--variant", "gan", *new], 2, "no variant 'gan'"),
        ([*sample, tmp_path / "a.jpg"], 2, "ends in .png"),
        ([*sample, tmp_path / "a.png", "--truncation", -1], 2, "cannot draw"),
        (["dcvae", "sample", empty, "--out", tmp_path / "a.png"], 3, "has no config.json"),
    ):
        found, _, complaint = veilform(*call)
        assert (found, why in complaint) == (code, True), f"{call}: {complaint}"
    assert not (tmp_path / "new").exists()


def test_other_sets_are_not_scored(veilform, fitted):
    code, _, complaint = veilform("dcvae", "evaluate", fitted, "--json")
    assert code == 2
    assert "Fashion-MNIST" in complaint or "channels" in complaint
