"""Images between a client, a server and a dealer over TLS, by the services that texts use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.models.networks import random_images, random_tensors
from tests.serve.deployment import Deployment, fresh, serving, used

from veilform.errors import InputError, ModelError
from veilform.models.bert.sides import Shape
from veilform.models.vision.config import read
from veilform.models.vision.plain import PlainNetwork, calibrate
from veilform.models.vision.sides import ClientSide, ImageBatch, ServerSide, save_clips
from veilform.plan.convolution import choose
from veilform.roles import Role
from veilform.transport import Identity

CONFIG = {
    "family": "resnet", "height": 10, "width": 9, "channels": 2, "classes": 3,
    "depths": [1, 1], "widths": [4, 6], "small": True,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    out = tmp_path / "model"
    out.mkdir()
    (out / "config.json").write_text(json.dumps(CONFIG))
    network = read(out).network()
    save_file(random_tensors(network), out / "model.safetensors")
    save_clips(out, calibrate(PlainNetwork.load(out), random_images(network, 4, 9)))
    return out


@pytest.fixture
def running(
    folder: Path, party_identities: dict[Role, Identity], tmp_path: Path
) -> Iterator[Deployment]:
    network = read(folder).network()
    tiles = choose(network, batch=64) | {"layer1.0.conv1": 2}
    side = ServerSide(folder, largest=1.0, tiles=tiles)
    with serving(side, party_identities, tmp_path) as deployment:
        yield deployment


def test_images_are_answered(running: Deployment, folder: Path) -> None:
    loaded = PlainNetwork.load(folder)
    images = random_images(loaded.network, 2, 1)
    with running.client() as client:
        client.prepare(Shape(2, 1))
        assert client.ready(Shape(2, 1)) == 1
        logits, cost = client.infer(ImageBatch(images))  # type: ignore[arg-type]
        again, _ = client.infer(ImageBatch(images[:1]))  # type: ignore[arg-type]
    clipped = PlainNetwork(
        loaded.network, loaded.tensors, json.loads((folder / "clips.json").read_text())
    )
    wanted = clipped.forward(images)
    assert np.abs(logits - wanted).max() < 0.01
    assert np.abs(again - wanted[:1]).max() < 0.01
    foreseen = ClientSide(running.public).trace(Shape(2, 1)).total
    moved = cost.bytes_client_to_server, cost.bytes_server_to_client
    # Control records of the turn come on top.
    assert 0 <= moved[0] - foreseen.up < 2000, "another number of bytes goes up than is declared"
    assert 0 <= moved[1] - foreseen.down < 2000, "another number of bytes comes down"
    assert not fresh(running.client_folder)
    assert len(used(running.client_folder)) == 2


@pytest.mark.parametrize(
    ("images", "why"),
    [
        (np.zeros((1, 9, 10, 2)), "takes B x 10 x 9 x 2"),
        (np.zeros((10, 9, 2)), "takes B x 10 x 9 x 2"),
        (np.zeros((0, 10, 9, 2)), "takes B x 10 x 9 x 2"),
        (np.full((1, 10, 9, 2), 1.1), r"beyond \+-1"),
        (np.full((1, 10, 9, 2), np.nan), "no numbers"),
    ],
)
def test_images_that_cannot_be_asked_about(running: Deployment, images, why: str) -> None:
    with pytest.raises(InputError, match=why):
        ClientSide(running.public).inputs(ImageBatch(images))


def test_a_model_without_clips(folder: Path) -> None:
    (folder / "clips.json").write_text("[]")
    with pytest.raises(ModelError, match=r"clips\.json .* is malformed"):
        ServerSide(folder)
    (folder / "clips.json").unlink()
    with pytest.raises(ModelError, match=r"clips\.json"):
        ServerSide(folder)
