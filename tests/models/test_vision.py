"""Convolution networks: secure equals plain, for every kind of layer and way to convolve."""

from __future__ import annotations

import numpy as np
import pytest
from tests.models.networks import (
    LARGE_STEM,
    SMALL_MOBILENET,
    SMALL_RESNET,
    private,
    random_images,
    random_tensors,
)

from veilform.correlation.check import check_dealable
from veilform.correlation.manifest import Manifest
from veilform.drive.trace import trace
from veilform.errors import ModelError
from veilform.models.vision.network import Branch, Network, Step
from veilform.models.vision.plain import PlainNetwork, calibrate
from veilform.models.vision.scaling import plan
from veilform.models.vision.secure import SecureNetwork
from veilform.nn.convolution import Convolution
from veilform.nn.pool import Pool

FAMILIES = {"resnet": SMALL_RESNET, "resnet-224": LARGE_STEM, "mobilenet": SMALL_MOBILENET}


def clipped(network: Network, seed: int = 0) -> PlainNetwork:
    tensors = random_tensors(network, seed)
    caps = calibrate(PlainNetwork(network, tensors), random_images(network, 4, 9))
    return PlainNetwork(network, tensors, caps)


def everywhere(network: Network, tile: int) -> dict[str, int]:
    return {b.name: tile for b, conv, _ in network.convolutions() if conv.winograd}


@pytest.mark.parametrize("tile", [0, 2, 4])
@pytest.mark.parametrize("family", list(FAMILIES))
def test_private_answers_are_the_plain_ones(family: str, tile: int) -> None:
    network = FAMILIES[family].network()
    plain, images = clipped(network), random_images(network, 2)
    scales = plan(network, plain.tensors, plain.caps, 1.0, everywhere(network, tile))
    logits, _ = private(network, scales, plain.tensors, images)
    off = np.abs(logits - plain.forward(images)).max()
    assert off < 0.005, f"{family} is off by {off} with tiles of {tile}"


def test_an_image_beyond_what_was_calibrated_is_clipped_alike() -> None:
    network = SMALL_RESNET.network()
    plain = clipped(network)
    images = 10 * random_images(network, 2, 3)
    free = PlainNetwork(network, plain.tensors).forward(images)
    wanted = plain.forward(images)
    assert np.abs(free - wanted).max() > 0.5, "nothing is clipped"
    scales = plan(network, plain.tensors, plain.caps, 10.0)
    logits, _ = private(network, scales, plain.tensors, images)
    assert np.abs(logits - wanted).max() < 0.05


GROUPED = Network(
    (6, 7, 4),
    (
        Step("a", (Branch(0, Convolution(4, 6, 3, 2, 1, 2), "a", ""),), "relu6"),
        Step("b", (Branch(1, Convolution(6, 6, 2, 1, 0, 3), "b", ""),), "relu", Pool(2, 1)),
    ),
    "head",
    2,
)  # fmt: skip


def test_grouped_convolutions_biases_and_pools() -> None:
    plain, images = clipped(GROUPED), random_images(GROUPED, 3)
    scales = plan(GROUPED, plain.tensors, plain.caps, 1.0)
    logits, _ = private(GROUPED, scales, plain.tensors, images)
    assert np.abs(logits - plain.forward(images)).max() < 0.02


def test_a_deep_network_without_clipping_is_refused() -> None:
    network = SMALL_RESNET.network()
    tensors = {name: 8 * value for name, value in random_tensors(network).items()}
    with pytest.raises(ModelError, match="calibrate the model"):
        plan(network, tensors, {}, 1.0)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_manifest_can_be_dealt(family: str) -> None:
    network = FAMILIES[family].network()
    plain = clipped(network)
    scales = plan(network, plain.tensors, plain.caps, 1.0, everywhere(network, 2))
    made = trace(SecureNetwork(network, scales).abstract).manifest("0" * 64, 1, 1)
    again = Manifest.decode(made.encode())
    assert again == made
    assert check_dealable(again) > 0


def test_branches_that_do_not_fit() -> None:
    conv = Convolution(3, 4)
    wrong = Network((5, 5, 3), (Step("a", (Branch(0, conv, "a"), Branch(0))),), "head", 2)
    with pytest.raises(ValueError, match="branches of a do not fit"):
        wrong.wires()
    with pytest.raises(ValueError, match="takes 3 channels, not 2"):
        Network((5, 5, 2), (Step("a", (Branch(0, conv, "a"),)),), "head", 2).wires()
