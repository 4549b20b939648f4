"""Both networks under secure computation: what clients get is what PyTorch makes."""

from __future__ import annotations

import numpy as np
import pytest
from tests.models.networks import private
from tests.serve.deployment import serving
from tests.vision.dcvae.tiny import pictures, tiny, torch

from veilform.correlation.check import check_dealable
from veilform.correlation.manifest import Manifest
from veilform.drive.trace import trace
from veilform.errors import InputError
from veilform.models.bert.sides import Shape
from veilform.models.vision.plain import PlainNetwork
from veilform.models.vision.secure import SecureNetwork
from veilform.models.vision.sides import ImageBatch, ServerSide
from veilform.plan.convolution import choose
from veilform.vision.dcvae.model import DCVAE
from veilform.vision.dcvae.private import as_pixels, as_reals, prepare

PIXEL = 2 / 255


@pytest.fixture(scope="module", params=[16, 32])
def model(request, tmp_path_factory):
    """A model whose norms and biases are not what they are at first."""
    folder = tmp_path_factory.mktemp("model")
    config = tiny(size=request.param, channels=3, steps=6)
    images = pictures(12, request.param, 3)
    made = DCVAE(config).fit(images)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for part in (made.encoder, made.generator):
            for name, value in part.named_parameters():
                if name.endswith("bias"):
                    value += 0.3 * torch.randn(value.shape, generator=random)
    made.save_pretrained(folder)
    prepare(folder, images)
    return made, folder


def inputs_of(made: DCVAE, name: str, count: int) -> np.ndarray:
    if name == "decoder":
        return as_pixels(made.latents(count, seed=7))
    return as_reals(pictures(count, made.config.size, 3, seed=7))


def plain_of(made: DCVAE, name: str, inputs: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        if name == "decoder":
            latents = torch.from_numpy(inputs[:, 0, 0]).float()
            return made.generator(latents).permute(0, 2, 3, 1).numpy()
        return made.encoder(torch.from_numpy(inputs).float().permute(0, 3, 1, 2))[0].numpy()


@pytest.mark.parametrize("name", ["decoder", "encoder"])
def test_the_served_network_is_pytorch_s(model, name):
    made, folder = model
    inputs = inputs_of(made, name, 5)
    found = PlainNetwork.load(folder / name).forward(inputs)
    np.testing.assert_allclose(found, plain_of(made, name, inputs), atol=2e-5)


@pytest.mark.parametrize("name", ["decoder", "encoder"])
def test_private_is_plain(model, name):
    made, folder = model
    side = ServerSide(folder / name)
    inputs = inputs_of(made, name, 2)
    plain = PlainNetwork.load(folder / name)
    # In here the bytes on the channel are held to the trace, and the trace to declared costs.
    found, _ = private(side.network, side.scales, plain.tensors, inputs)
    wanted = plain_of(made, name, inputs)
    assert found.shape == wanted.shape
    # Images in [-1, 1] have pixels of half their differences.
    off = np.abs(found - wanted).max()
    assert off / 2 < PIXEL if name == "decoder" else off < 0.01


def test_winograd_s_tiles_do_as_well(model):
    made, folder = model
    network = PlainNetwork.load(folder / "decoder").network
    tiles = {b.name: 2 for b, conv, _ in network.convolutions() if conv.winograd}
    side = ServerSide(folder / "decoder", tiles=tiles | choose(network, batch=64))
    inputs = inputs_of(made, "decoder", 1)
    plain = PlainNetwork.load(folder / "decoder")
    found, _ = private(side.network, side.scales, plain.tensors, inputs)
    assert np.abs(found - plain_of(made, "decoder", inputs)).max() / 2 < PIXEL


@pytest.mark.parametrize("name", ["decoder", "encoder"])
def test_a_manifest_can_be_dealt(model, name):
    _, folder = model
    side = ServerSide(folder / name)
    made = trace(SecureNetwork(side.network, side.scales, 3).abstract).manifest("0" * 64, 3, 1)
    again = Manifest.decode(made.encode())
    assert again == made
    assert check_dealable(again) > 0


def test_sides_whose_tangents_differ_in_a_bit_have_other_manifests(model, monkeypatch):
    """Both fit the tangent's lines by themselves: what differs would be noise, not an error."""
    _, folder = model
    sides = [ServerSide(folder / "decoder") for _ in range(2)]
    first = sides[0].manifest(Shape(1, 1), "0" * 64)
    of = SecureNetwork.constants.fget
    changed = [each ^ np.uint64(1) for each in of(sides[1].program(Shape(1, 1)))]
    assert changed
    monkeypatch.setattr(SecureNetwork, "constants", changed)
    assert sides[1].manifest(Shape(1, 1), "0" * 64).digest != first.digest


def test_a_client_draws_over_tls(model, party_identities, tmp_path):
    """The latent stays the client's, the weights the server's; by the services that texts use."""
    made, folder = model
    if made.config.size > 16:
        pytest.skip("once is enough")
    side = ServerSide(folder / "decoder")
    latents = inputs_of(made, "decoder", 2)
    with serving(side, party_identities, tmp_path) as running, running.client() as client:
        drawn, cost = client.infer(ImageBatch(latents))
        foreseen = client.side.trace(Shape(2, 1)).total
        assert 0 <= cost.bytes_server_to_client - foreseen.down < 2000
        assert 0 <= cost.bytes_client_to_server - foreseen.up < 2000
        with pytest.raises(InputError, match="beyond"):
            client.side.inputs(ImageBatch(latents * 10))
    assert np.abs(drawn - plain_of(made, "decoder", latents)).max() / 2 < PIXEL
