"""The networks of DC-VAE without PyTorch: views, what is folded, shapes that do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.models.networks import private, random_images, random_tensors

from veilform.correlation import specs
from veilform.correlation.check import check_dealable
from veilform.correlation.manifest import Manifest
from veilform.errors import ModelError, ProtocolError
from veilform.masks import MaskRef, Spread, SumPool, Upsampled, View
from veilform.models.vision.config import read
from veilform.models.vision.generative import Decoder, Encoder
from veilform.models.vision.network import Branch, Link, Network, Step
from veilform.models.vision.plain import PlainNetwork, calibrate, convolve, fold
from veilform.models.vision.scaling import plan
from veilform.nn.convolution import Convolution
from veilform.roles import SERVER
from veilform.shapes import Abstract


def words(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << 64, shape, np.uint64)


@pytest.mark.parametrize("view", [Upsampled(3), Spread(2)], ids=lambda v: type(v).__name__)
def test_views_are_linear_and_traced_alike(view: View) -> None:
    x, y = words(1, 2, 3, 5, 8), words(2, 2, 3, 5, 8)
    np.testing.assert_array_equal(view.apply(x - y), view.apply(x) - view.apply(y))
    assert view.apply(Abstract(x.shape)).shape == view.apply(x).shape
    with pytest.raises(ValueError, match="not 3 x 3 pixels"):
        Spread(3).apply(Abstract(x.shape))


def test_views_by_hand() -> None:
    x = np.arange(12, dtype=np.uint64).reshape(1, 1, 12)
    assert Spread(2).apply(x).tolist() == [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]
    up = Upsampled(2).apply(Spread(2).apply(x))[..., 0]
    assert up.tolist() == [[0, 0, 3, 3], [0, 0, 3, 3], [6, 6, 9, 9], [6, 6, 9, 9]]
    down = SumPool(4, 4, 0).apply(up[..., None])
    assert down.item() == 4 * (0 + 3 + 6 + 9), "up and down again, by the window's pixels"


@pytest.mark.parametrize("view", [Upsampled(17), Upsampled(0), Spread(17), Spread(0)])
def test_views_beyond_reason_are_refused(view: View) -> None:
    x = specs.Preshare("x", (1, 2, 2, 289), 40)
    seen = MaskRef("x", (view,))  # type: ignore[arg-type]
    wanted = specs.Open("o", (1,), 8, 8, (SERVER,), seen)
    with pytest.raises(ProtocolError, match="does not fit together"):
        check_dealable(Manifest("", "", 1, 1, (x, wanted), (), ()))


def test_a_mask_that_views_blow_up_is_too_much_work() -> None:
    x = specs.Preshare("x", (1, 512, 512, 64), 40)
    seen = MaskRef("x", (*[Upsampled(16)] * 3, SumPool(16, 16, 0)))
    wanted = specs.Open("o", (1, 131072, 131072, 64), 8, 8, (SERVER,), seen)
    with pytest.raises(ProtocolError, match="too much work"):
        check_dealable(Manifest("", "", 1, 1, (x, wanted), (), ()))


def test_one_by_one_convolutions_are_folded_with_one_bias() -> None:
    """W (K x + b) + c is one convolution; of a sum, only one branch has c."""
    conv = Convolution(3, 4)
    random = np.random.default_rng(0)
    tensors = {
        "k.weight": random.normal(size=(4, 3, 3, 3)), "k.bias": random.normal(size=4),
        "w.weight": random.normal(size=(4, 4, 1, 1)), "w.bias": random.normal(size=4),
    }  # fmt: skip
    x, matrix = random.normal(size=(2, 5, 5, 3)), tensors["w.weight"][:, :, 0, 0]
    inner = convolve(x, tensors["k.weight"], conv) + tensors["k.bias"]
    for biased in (True, False):
        made = fold(tensors, Branch(0, conv, "k", links=(Link("w", biased),)))
        wanted = inner @ matrix.T + biased * tensors["w.bias"]
        np.testing.assert_allclose(convolve(x, made.kernel, conv) + made.bias, wanted)


NETWORKS = {
    "decoder 32": Decoder(32, 1, 6, 4).network(),
    "decoder 64": Decoder(64, 3, 5, 3).network(),
    "encoder 32": Encoder(32, 1, 6, 4).network(),
    "encoder 64": Encoder(64, 3, 5, 3).network(),
}


@pytest.mark.parametrize("name", list(NETWORKS))
def test_private_is_plain(name: str) -> None:
    network = NETWORKS[name]
    tensors = random_tensors(network)
    images = random_images(network, 1)
    caps = calibrate(PlainNetwork(network, tensors), random_images(network, 4, 9))
    plain = PlainNetwork(network, tensors, caps)
    found, foreseen = private(network, plan(network, tensors, caps, 1.0), tensors, images)
    assert np.abs(found - plain.forward(images)).max() < 0.01
    for entry in foreseen.entries:
        assert entry.declared == entry.counted


def test_every_wire_is_an_activation() -> None:
    """None is linear: an opening less for each block's sum. The encoder has a head, no tangent."""
    for name, network in NETWORKS.items():
        kinds = [step.activation for step in network.steps]
        last = ["tanh"] if name.startswith("decoder") else ["relu"]
        assert kinds == ["relu"] * (len(kinds) - 1) + last


def test_shapes_of_the_paper() -> None:
    decoder, encoder = Decoder(32, 3, 128, 256).network(), Encoder(32, 3, 128, 128).network()
    assert [wire[:2] for wire in decoder.wires()] == [
        (1, 1), (4, 4), (8, 8), (8, 8), (16, 16), (16, 16), (32, 32), (32, 32), (32, 32),
    ]  # fmt: skip
    assert decoder.wires()[-1] == (32, 32, 3)
    assert encoder.wires()[-1] == (8, 8, 128)
    tensors = decoder.tensors()
    assert tensors["base.weight"] == (4096, 128, 1, 1)
    assert tensors["cells.2.skips.1.weight"] == (256, 256, 1, 1)
    assert tensors["norm.running_var"] == (256,)
    assert "cells.0.norm1.weight" in tensors
    assert encoder.tensors()["mean.weight"] == (128, 128)


@pytest.mark.parametrize("family", ["dcvae-decoder", "dcvae-encoder"])
def test_sizes_that_do_not_divide(tmp_path: Path, family: str) -> None:
    good = {"family": family, "size": 16, "channels": 1, "latent": 4, "width": 4}
    (tmp_path / "config.json").write_text(json.dumps(good))
    assert read(tmp_path) == (Decoder if "decoder" in family else Encoder)(16, 1, 4, 4)
    for wrong in ({"size": 24}, {"size": 4}, {"width": 0}, {"latent": None}):
        (tmp_path / "config.json").write_text(json.dumps(good | wrong))
        with pytest.raises(ModelError, match="no convolution network"):
            read(tmp_path)


def test_networks_that_make_no_sense() -> None:
    conv = Convolution(2, 2)
    middle = Step("a", (Branch(0, conv, "a"),), "tanh")
    with pytest.raises(ValueError, match="tangent"):
        Network((4, 4, 2), (middle, middle), "", 0).wires()
    with pytest.raises(ValueError, match="tangent"):
        Network((4, 4, 2), (middle,), "head", 2).wires()
    normed = Step("a", (Branch(0, conv, "a"), Branch(0)), norm="n")
    with pytest.raises(ValueError, match="norm over a branch"):
        Network((4, 4, 2), (normed,), "head", 2).wires()
    assert msgspec.json.encode(NETWORKS["decoder 32"]), "a manifest's digest is of it"
