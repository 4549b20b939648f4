"""The PyTorch module is the network that is served, with torchvision's names."""

import msgspec
import numpy as np
import pytest
from tests.models.networks import (
    LARGE_STEM,
    SMALL_MOBILENET,
    SMALL_RESNET,
    random_images,
    random_tensors,
)

from veilform.models.vision.config import MobileNetV2, resnet18
from veilform.models.vision.merging import merge, with_merged
from veilform.models.vision.plain import PlainNetwork

torch = pytest.importorskip("torch", reason="needs veilform[train] (torch)")
modules = pytest.importorskip("veilform.vision.modules")

NETWORKS = {
    "resnet": SMALL_RESNET.network(),
    "resnet-224": LARGE_STEM.network(),
    "mobilenet": SMALL_MOBILENET.network(),
    "linear": with_merged(SMALL_MOBILENET, {1, 3}).unmerged(),
    "merged": with_merged(SMALL_MOBILENET, {1, 3}).network(),
}


def logits(module, images):
    module.eval()
    with torch.no_grad():
        found = module(torch.from_numpy(images).permute(0, 3, 1, 2).float())
    return found.numpy()


@pytest.mark.parametrize("name", NETWORKS)
def test_it_computes_what_is_served(name):
    network = NETWORKS[name]
    tensors, images = random_tensors(network), random_images(network, 3)
    caps = {step.name: 0.5 for step in network.steps if step.activation == "relu"}
    module = modules.ImageNetwork(network, caps)
    module.load_arrays(tensors)
    wanted = PlainNetwork(network, tensors, caps).forward(images)
    np.testing.assert_allclose(logits(module, images), wanted, atol=1e-4)
    again = module.arrays()
    assert again.keys() == network.tensors().keys()
    assert all(np.array_equal(again[name], tensors[name]) for name in again)


@pytest.mark.parametrize("family", [resnet18(), MobileNetV2(64, 64)])
def test_a_state_dict_of_torchvision_fits(family):
    """Its parameters, buffers and counters, no more and no less."""
    network = family.network()
    with torch.device("meta"):
        state = modules.ImageNetwork(network).state_dict()
    counters = {name for name in state if name.endswith("num_batches_tracked")}
    assert {n: tuple(v.shape) for n, v in state.items() if n not in counters} == network.tensors()
    assert len(counters) == sum(bool(branch.norm) for branch, _, _ in network.convolutions())


def test_tensors_that_do_not_fit_are_named():
    module = modules.ImageNetwork(NETWORKS["resnet"])
    tensors = random_tensors(NETWORKS["resnet"])
    del tensors["fc.bias"]
    with pytest.raises(ValueError, match=r"fc\.bias"):
        module.load_arrays(tensors)


@pytest.mark.parametrize("merged", [{1}, {2, 3}, {1, 2, 3}])
def test_merging_changes_logits_by_at_most_1e_4_in_float(merged):
    family = with_merged(SMALL_MOBILENET, merged)
    for seed in range(5):
        tensors, images = (
            random_tensors(family.unmerged(), seed),
            random_images(family.network(), 4, seed),
        )
        before, after = (modules.ImageNetwork(n) for n in (family.unmerged(), family.network()))
        before.load_arrays(tensors)
        after.load_arrays(merge(family, tensors))
        assert np.abs(logits(before, images) - logits(after, images)).max() < 1e-4


def test_a_family_keeps_its_blocks_through_json():
    family = with_merged(SMALL_MOBILENET, {2})
    assert msgspec.convert(msgspec.to_builtins(family), MobileNetV2) == family
