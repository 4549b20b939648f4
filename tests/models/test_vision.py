"""Convolution networks: secure equals plain, for every kind of layer and way to convolve."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.models.networks import (
    LARGE_STEM,
    SMALL_MOBILENET,
    SMALL_RESNET,
    private,
    random_images,
    random_tensors,
)

from veilform.correlation import specs
from veilform.correlation.check import check_dealable
from veilform.correlation.manifest import Manifest
from veilform.drive.trace import trace
from veilform.errors import ModelError, ProtocolError
from veilform.masks import Columns, MaskRef, Patches, Pixels, Tiled
from veilform.models.vision.config import MobileNetV2, read, resnet18
from veilform.models.vision.network import Branch, Network, Step
from veilform.models.vision.plain import PlainNetwork, calibrate
from veilform.models.vision.scaling import plan
from veilform.models.vision.secure import SecureNetwork
from veilform.nn.convolution import Convolution
from veilform.nn.pool import Pool
from veilform.roles import SERVER

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


def test_a_large_network_can_be_dealt() -> None:
    network = resnet18().network()
    caps = {step.name: 16.0 for step in network.steps}
    scales = plan(network, random_tensors(network), caps, 3.0, everywhere(network, 2))
    made = trace(SecureNetwork(network, scales).abstract).manifest("0" * 64, 1, 1)
    made.check_size(8 << 30)
    assert check_dealable(Manifest.decode(made.encode())) < 1 << 30


def test_windows_beyond_reason_are_refused() -> None:
    """Views that grow a mask count as work and as memory, and have a largest window."""
    x = specs.Preshare("x", (1, 512, 512, 64), 40)
    for view in (Patches(17, 1, 0), Patches(3, 0, 1), Patches(3, 1, 3)):
        seen = MaskRef("x", (view,))
        with pytest.raises(ProtocolError, match="does not fit together"):
            check_dealable(
                Manifest("", "", 1, 1, (x, specs.Open("o", (1,), 8, 8, (SERVER,), seen)), (), ())
            )
    for by in (Tiled(2, 3), Tiled(3, 0), Tiled(2, -1)):
        term = specs.Term(MaskRef("x"), x.shape, "w", (16, 64, 1), by=by)
        linear = specs.Linear("z", (1, 512, 512, 1), 40, (term,))
        with pytest.raises(ProtocolError, match="does not fit together"):
            check_dealable(Manifest("", "", 1, 1, (x, linear), (), ()))
    wide = MaskRef(
        "x", (Patches(16, 1, 0), Patches(16, 1, 0), Patches(16, 1, 0), Pixels(), Columns(0, 1))
    )
    with pytest.raises(ProtocolError, match="too much work"):
        check_dealable(
            Manifest("", "", 1, 1, (x, specs.Open("o", (1, 1), 8, 8, (SERVER,), wide)), (), ())
        )
    grown = MaskRef("x", (Patches(3, 1, 1), Pixels(), Columns(0, 1)))
    made = Manifest("", "", 1, 1, (x, specs.Open("o", (1, 1), 8, 8, (SERVER,), grown)), (), ())
    assert check_dealable(made) >= 8 * 9 * 512 * 512 * 64


def test_branches_that_do_not_fit() -> None:
    conv = Convolution(3, 4)
    wrong = Network((5, 5, 3), (Step("a", (Branch(0, conv, "a"), Branch(0))),), "head", 2)
    with pytest.raises(ValueError, match="branches of a do not fit"):
        wrong.wires()
    with pytest.raises(ValueError, match="takes 3 channels, not 2"):
        Network((5, 5, 2), (Step("a", (Branch(0, conv, "a"),)),), "head", 2).wires()


def written(folder: Path, config: dict[str, object]) -> Network:
    """A folder as a user has it: torch's state dict, counters included."""
    (folder / "config.json").write_text(json.dumps(config))
    network = read(folder).network()
    tensors = random_tensors(network)
    counters = {
        name.replace("running_mean", "num_batches_tracked"): np.array(7, np.int64)
        for name in tensors
        if name.endswith("running_mean")
    }
    save_file(tensors | counters, folder / "model.safetensors")
    return network


SMALL = {"family": "resnet", "height": 8, "width": 8, "depths": [1], "widths": [4], "small": True}


def test_a_folder_is_read_without_torch(tmp_path: Path) -> None:
    network = written(tmp_path, SMALL)
    loaded = PlainNetwork.load(tmp_path)
    assert loaded.network == network
    images = random_images(network, 2)
    wanted = PlainNetwork(network, random_tensors(network)).forward(images)
    np.testing.assert_allclose(loaded.forward(images), wanted)


@pytest.mark.parametrize(
    "wrong",
    [
        {"family": "vgg"},
        {"height": 0},
        {"depths": [1, 1]},
        {"widths": []},
        {"family": "mobilenet_v2", "settings": [[1, 2, 3, 9]]},
        {"height": "8"},
    ],
)
def test_a_config_that_is_none(tmp_path: Path, wrong: dict[str, object]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SMALL | wrong))
    with pytest.raises(ModelError, match="no convolution network"):
        read(tmp_path)


def test_missing_tensors_are_all_listed(tmp_path: Path) -> None:
    network = written(tmp_path, SMALL)
    tensors = random_tensors(network)
    del tensors["fc.bias"]
    tensors["conv1.weight"] = tensors["conv1.weight"][:2]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"(?s)conv1\.weight.*fc\.bias"):
        PlainNetwork.load(tmp_path)


def test_torchvision_s_names() -> None:
    """A few that stand for their kinds."""
    resnet = resnet18().network().tensors()
    assert resnet["layer2.0.downsample.0.weight"] == (128, 64, 1, 1)
    assert resnet["layer4.1.bn2.running_var"] == (512,)
    assert resnet["fc.weight"] == (1000, 512)
    assert sum(map(math.prod, (s for n, s in resnet.items() if "running" not in n))) == 11_689_512
    mobile = MobileNetV2(224, 224).network().tensors()
    assert mobile["features.1.conv.0.0.weight"] == (32, 1, 3, 3)
    assert mobile["features.2.conv.1.0.weight"] == (96, 1, 3, 3)
    assert mobile["features.17.conv.2.weight"] == (320, 960, 1, 1)
    assert mobile["features.17.conv.3.bias"] == (320,)
    assert mobile["features.18.0.weight"] == (1280, 320, 1, 1)
    assert sum(map(math.prod, (s for n, s in mobile.items() if "running" not in n))) == 3_504_872


def test_the_plain_model_is_torch_s() -> None:
    """A block of MobileNetV2 and a max pool, by PyTorch's own functions."""
    torch = pytest.importorskip("torch")
    by = torch.nn.functional
    network = SMALL_MOBILENET.network()
    tensors, images = random_tensors(network), random_images(network, 2)
    t = {name: torch.from_numpy(value).double() for name, value in tensors.items()}
    wires = [torch.from_numpy(images).permute(0, 3, 1, 2)]
    for step in network.steps:
        total = 0
        for branch in step.branches:
            x = wires[branch.source]
            if branch.conv is not None:
                conv, norm = branch.conv, branch.norm
                x = by.conv2d(
                    x, t[branch.name + ".weight"], None, conv.stride, conv.padding, 1, conv.groups
                )
                x = by.batch_norm(
                    x,
                    *(
                        t[f"{norm}.{part}"]
                        for part in ("running_mean", "running_var", "weight", "bias")
                    ),
                )
            total = total + x
        wires.append(by.relu6(total) if step.activation == "relu6" else total)
    logits = by.linear(wires[-1].mean((2, 3)), t["classifier.1.weight"], t["classifier.1.bias"])
    found = PlainNetwork(network, tensors).forward(images)
    np.testing.assert_allclose(found, logits.numpy(), atol=1e-9)
