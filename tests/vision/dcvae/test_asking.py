"""The commands by which clients draw and encode, over TLS, and what they refuse."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.serve.deployment import serving
from tests.vision.dcvae.tiny import pictures, tiny
from tests.vision.small import mobile

from veilform.errors import InputError
from veilform.models import families
from veilform.models.vision.sides import ServerSide
from veilform.vision.dcvae import asking
from veilform.vision.dcvae.images import grid, write_png
from veilform.vision.dcvae.model import DCVAE
from veilform.vision.dcvae.private import prepare

image = pytest.importorskip("PIL.Image")
SIZE = 16


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    seen = pictures(12, SIZE, 3)
    made = DCVAE(tiny(size=SIZE, channels=3, steps=6)).fit(seen)
    made.save_pretrained(folder)
    prepare(folder, seen)
    return made, folder


@pytest.fixture(scope="module")
def services(model, party_identities, tmp_path_factory):
    """The decoder's, and the encoder's."""
    _, folder = model
    places = [tmp_path_factory.mktemp(name) for name in ("decoder", "encoder")]
    sides = [ServerSide(folder / name) for name in ("decoder", "encoder")]
    with (
        serving(sides[0], party_identities, places[0]) as decoder,
        serving(sides[1], party_identities, places[1]) as encoder,
    ):
        yield decoder, encoder


def read(path):
    with image.open(path) as picture:
        return np.asarray(picture).astype(int)


def test_what_is_encoded_can_be_drawn(veilform, services, certificates, model, tmp_path):
    made, _ = model
    decoder, encoder = services
    given = pictures(2, SIZE, 3, seed=5)
    paths = [tmp_path / "0.png", tmp_path / "1.png"]
    for path, each in zip(paths, given, strict=True):
        write_png(path, each)
    codes, out = tmp_path / "new" / "codes.npy", tmp_path / "out.png"
    options = encoder.options(certificates, tmp_path / "stock")
    several = [part for path in paths for part in ("--image", path)]
    code, said, complaint = veilform("dcvae", "encode", *options, *several, "--out", codes)
    assert code == 0, complaint
    assert "2 image(s)" in " ".join(said.split())
    found = np.load(codes)
    np.testing.assert_allclose(found, made.encode(given), atol=0.02)
    options = decoder.options(certificates, tmp_path / "stock")
    call = ["dcvae", "draw", *options, "--latents", codes, "--out", out, "--scale", 1, "--json"]
    code, said, complaint = veilform(*call)
    assert code == 0, complaint
    told = json.loads(said)
    assert (told["images"], len(told["costs"])) == (2, 2)
    assert np.abs(read(out) - grid(made.decode(found), 2).astype(int)).max() <= 2


def test_latents_are_drawn_here(veilform, services, certificates, tmp_path):
    decoder, _ = services
    drawn = []
    for name, more in (("a", ["--seed", 1]), ("b", ["--seed", 1]), ("c", [])):
        out = tmp_path / f"{name}.png"
        call = ["--count", 1, "--truncation", 1.5, "--out", out, *more]
        options = decoder.options(certificates, tmp_path / "stock")
        code, _, complaint = veilform("dcvae", "draw", *options, *call)
        assert code == 0, complaint
        drawn.append(read(out))
    assert np.abs(drawn[0] - drawn[1]).max() <= 2, "rounding in private is random, not more"
    assert np.abs(drawn[0] - drawn[2]).max() > 2


def test_draws_keep_to_the_bound():
    assert np.abs(asking.latents(400, 8, 0.5, seed=0)).max() <= 0.5
    assert not np.array_equal(asking.latents(1, 8), asking.latents(1, 8))
    with pytest.raises(InputError, match="cannot draw"):
        asking.latents(1, 8, -1.0)


def test_what_cannot_be_asked(veilform, services, certificates, tmp_path):
    decoder, encoder = services
    files = {}
    for name, value in (
        ("wide", np.zeros((1, 999))), ("large", np.full((1, 8), 7.0)),
        ("none", np.full((1, 8), np.nan)), ("text", np.array(["a"])), ("cube", np.zeros((1, 1, 8))),
    ):  # fmt: skip
        files[name] = tmp_path / f"{name}.npy"
        width = decoder.side.input_shape[-1]
        np.save(files[name], value[:, :width] if name in ("large", "none") else value)
    files["objects"] = tmp_path / "objects.npy"
    np.save(files["objects"], np.array([{}], dtype=object), allow_pickle=True)
    files["claims"] = tmp_path / "claims.npy"
    cut = (tmp_path / "wide.npy").read_bytes().replace(b"(1, 999)", b"(1, 9999999999999)")
    files["claims"].write_bytes(cut.replace(b"9999999999999), }" + b" " * 11, b"9999999999999), }"))
    draw = ["dcvae", "draw", *decoder.options(certificates, tmp_path / "s"), "--out"]
    encode = ["dcvae", "encode", *encoder.options(certificates, tmp_path / "s"), "--image"]
    out = tmp_path / "out.png"
    of_others = mobile(tmp_path / "classifier")
    families.publish(families.server_side(of_others), tmp_path / "public")
    for call, code, why in (
        ([*draw, tmp_path / "a.jpg"], 2, "ends in .png"),
        ([*draw, out, "--latents", files["wide"]], 2, "the model takes N x"),
        ([*draw, out, "--latents", files["large"]], 2, "beyond"),
        ([*draw, out, "--latents", files["none"]], 2, "no numbers"),
        ([*draw, out, "--latents", files["text"]], 2, "give numbers"),
        ([*draw, out, "--latents", files["cube"]], 2, "N x D numbers"),
        ([*draw, out, "--latents", files["objects"]], 2, "give numbers"),
        ([*draw, out, "--latents", files["claims"]], 2, "claims.npy"),
        ([*draw, out, "--latents", tmp_path / "gone.npy"], 2, "cannot be read"),
        ([*draw, out, "--truncation", 0], 2, "cannot draw"),
        ([*draw, out, "--truncation", 1e-9], 2, "0.01 or more"),
        ([*draw, files["wide"] / "a.png"], 2, "cannot write"),
        ([*encode, tmp_path / "gone.png", "--out", tmp_path / "a.npy"], 2, "gone.png"),
        ([*encode, tmp_path / "gone.png", "--out", tmp_path / "a.txt"], 2, ".npy"),
        ([*draw[:2], encoder.public, *draw[3:], out], 3, "not of a DC-VAE's decoder"),
        ([*draw[:2], tmp_path / "public", *draw[3:], out], 3, "not of a DC-VAE's decoder"),
    ):
        found, _, complaint = veilform(*call)
        assert (found, why in complaint) == (code, True), (call, complaint)
    assert not out.exists()
    assert not list((tmp_path / "s").glob("*")), "stock was made for what cannot be done"
