"""Blocks without inner activations as one convolution: the same numbers, fewer activations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from tests.models.networks import (
    SMALL_MOBILENET,
    SMALL_RESNET,
    private,
    random_images,
    random_tensors,
)

from veilform.drive.trace import trace
from veilform.errors import ModelError
from veilform.models.vision.config import MobileNetV2, read
from veilform.models.vision.merging import merge, prunable, with_merged
from veilform.models.vision.plain import PlainNetwork
from veilform.models.vision.scaling import plan
from veilform.models.vision.secure import SecureNetwork
from veilform.plan.convolution import choose


@st.composite
def families(draw: st.DrawFn) -> MobileNetV2:
    """Networks of one to three blocks, any of them merged: strides, sizes, borders, residuals."""
    side = st.integers(3, 9)
    setting = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 2), st.integers(1, 2))
    stages = draw(st.lists(setting, min_size=1, max_size=2))
    family = MobileNetV2(
        draw(side), draw(side), draw(st.integers(1, 3)), 3, tuple(stages),
        draw(st.integers(1, 4)), draw(st.integers(1, 2)), 4,
    )  # fmt: skip
    numbers = [block.number for block in family.blocks()]
    return with_merged(family, draw(st.sets(st.sampled_from(numbers))))


@given(family=families(), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_a_merged_block_is_the_trained_one(family: MobileNetV2, seed: int) -> None:
    """At every pixel of every wire that both have, borders included."""
    trained, served = family.unmerged(), family.network()
    tensors, images = random_tensors(trained, seed), random_images(trained, 2, seed)
    merged = merge(family, tensors)
    assert {name: value.shape for name, value in merged.items()} == served.tensors()
    before, after = PlainNetwork(trained, tensors), PlainNetwork(served, merged)
    # A merged step stands for the last of a trained block's.
    ends = {step.name.removesuffix(".down"): i for i, step in enumerate(trained.steps, 1)}
    wires, found = before.wires(images), after.wires(images)
    for i, step in enumerate(served.steps, 1):
        if step.name.count(".") == 1:
            np.testing.assert_allclose(found[i], wires[ends[step.name]], atol=1e-5)
    np.testing.assert_allclose(after.forward(images), before.forward(images), atol=1e-4)


def test_zeros_around_the_depthwise_layer_would_be_wrong_at_borders() -> None:
    """Why a pruned block is padded before it grows: its bias is not zero beyond the border."""
    family = MobileNetV2(6, 6, 2, 3, ((3, 4, 1, 1),), 4, 1, 4, (1,))
    trained, whole = family.unmerged(), with_merged(family, ()).network()
    up, depthwise, down = trained.steps[1:4]
    assert [s.branches[0].conv.padding for s in (up, depthwise, down)] == [1, 0, 0]  # type: ignore[union-attr]
    assert [s.branches[0].conv.padding for s in whole.steps[1:4]] == [0, 1, 0]  # type: ignore[union-attr]
    tensors, images = random_tensors(trained), random_images(trained, 1)
    late = trained.__class__(
        trained.image,
        (
            trained.steps[0],
            *(
                step.__class__(step.name, then.branches, step.activation)
                for step, then in zip(trained.steps[1:4], whole.steps[1:4], strict=True)
            ),
            trained.steps[4],
        ),
        trained.head,
        trained.classes,
    )
    right = PlainNetwork(family.network(), merge(family, tensors)).wires(images)[2]
    wrong = PlainNetwork(late, tensors).wires(images)[4]
    np.testing.assert_allclose(wrong[:, 1:-1, 1:-1], right[:, 1:-1, 1:-1], atol=1e-5)
    assert np.abs(wrong - right).max() > 0.01


@pytest.mark.parametrize("merged", [(1,), (3,), (1, 2, 3)])
def test_merged_networks_run_privately_and_cost_less(merged: tuple[int, ...]) -> None:
    family = with_merged(SMALL_MOBILENET, merged)
    tensors = merge(family, random_tensors(family.unmerged()))
    network, images = family.network(), random_images(family.network(), 2)
    tiles = choose(network, batch=64)
    assert set(tiles) <= {f"features.{n}.conv" for n in merged} | {"features.0.0"}
    scales = plan(network, tensors, {}, 1.0, dict.fromkeys(tiles, 2))
    logits, cost = private(network, scales, tensors, images)
    assert np.abs(logits - PlainNetwork(network, tensors).forward(images)).max() < 0.005
    whole = SMALL_MOBILENET.network()
    before = trace(SecureNetwork(whole, plan(whole, random_tensors(whole), {}, 1.0), 2).abstract)
    assert cost.messages == before.messages - sum(2 if n == 1 else 4 for n in merged)
    assert cost.total.online_bytes < before.total.online_bytes
    assert cost.total.offline_bytes < before.total.offline_bytes


def written(folder: Path, **config: object) -> Path:
    base = {"family": "mobilenet_v2", "height": 8, "width": 8, "channels": 1, "classes": 2}
    base |= {"settings": [[1, 4, 1, 1], [2, 4, 2, 2]], "stem": 4, "last": 4}
    (folder / "config.json").write_text(json.dumps(base | config))
    return folder


def test_a_merged_folder_is_read(tmp_path: Path) -> None:
    family = read(written(tmp_path, merged=[2, 3], id2label={"0": "cat", "1": "dog"}))
    assert isinstance(family, MobileNetV2)
    save_file(random_tensors(family.network()), tmp_path / "model.safetensors")
    assert len(PlainNetwork.load(tmp_path).network.steps) == 6


@pytest.mark.parametrize("merged", [[0], [4], [2, 1], [1, 1], ["1"], 1, [1] * 2000])
def test_merged_blocks_that_are_none(tmp_path: Path, merged: object) -> None:
    with pytest.raises(ModelError, match="no convolution network"):
        read(written(tmp_path, merged=merged))


def test_what_cannot_be_pruned() -> None:
    with pytest.raises(ModelError, match="no inverted residual blocks"):
        prunable(SMALL_RESNET)
    with pytest.raises(ModelError, match="compressed already"):
        prunable(with_merged(SMALL_MOBILENET, {1}))
    assert prunable(SMALL_MOBILENET) is SMALL_MOBILENET
