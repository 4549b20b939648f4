"""Costs of convolutions: CoPriv's numbers without a dealer, exact counts with one."""

from __future__ import annotations

import pytest
from tests.models.networks import SMALL_RESNET, random_tensors

from veilform.drive.trace import trace
from veilform.models.vision.config import MobileNetV2, ResNet, resnet32
from veilform.models.vision.scaling import plan
from veilform.models.vision.secure import SecureNetwork
from veilform.nn.convolution import Convolution
from veilform.plan.convolution import (
    Rates,
    choose,
    dealer_free,
    product_bits,
    with_dealer,
    without_dealer,
)

GIB = 8 * 2**30


@pytest.mark.parametrize(
    ("family", "direct", "adaptive", "saved"),
    [
        (resnet32(), 8.46, 3.42, 2.29),
        (ResNet(32, 32, 3, 100, small=True), 57.6, 28.3, 2.00),
    ],
    ids=["ResNet-32", "ResNet-18"],
)
def test_the_published_numbers(family: ResNet, direct, adaptive, saved) -> None:
    found = dealer_free(family.network())
    assert found.direct / GIB == pytest.approx(direct, rel=0.02)
    assert found.adaptive / GIB == pytest.approx(adaptive, rel=0.02)
    assert found.saved == pytest.approx(saved, rel=0.02)


def test_the_formula_by_hand() -> None:
    # One word of 2 bits times one in a ring of 3: 2 transfers of 128 bits, and 3 + 2 bits sent.
    assert product_bits(1, 1, 1, 2, 3) == 2 * 128 + 2 * 1 + 3


def test_either_side_may_receive() -> None:
    """Few pixels of many channels: the image's bits choose. Many pixels of few: the kernel's."""
    assert without_dealer(Convolution(512, 512), 4, 4).receiver == "client"
    assert without_dealer(Convolution(16, 16), 32, 32).receiver == "server"
    assert without_dealer(Convolution(16, 16, 3, 2), 32, 32).tile == 0


@pytest.mark.parametrize("tile", [0, 2, 4])
def test_counts_with_a_dealer_are_the_trace_s(tile: int) -> None:
    network = SMALL_RESNET.network()
    tiles = {b.name: tile for b, conv, _ in network.convolutions() if conv.winograd}
    scales = plan(
        network, random_tensors(network), {s.name: 8.0 for s in network.steps}, 1.0, tiles
    )
    foreseen = trace(SecureNetwork(network, scales).abstract)
    told = [
        with_dealer(conv, *shape[:2], tiles.get(branch.name, 0))
        for branch, conv, shape in network.convolutions()
    ]
    head = network.wires()[-1][2] * network.classes
    assert foreseen.linear_multiply_adds == sum(cost.multiply_adds for cost in told) + head
    linears = [e.declared for e in foreseen.entries if e.protocol == "linear"]
    for step, at, declared in zip(network.steps, scales.steps, linears[:-1], strict=True):
        branch = step.branches[0]
        assert branch.conv is not None
        shape = network.wires()[branch.source][:2]
        cost = with_dealer(branch.conv, *shape, at.tiles[0], ring=at.ring - at.carried)
        if at.tiles[0] or not at.carried:
            assert declared.correction + declared.dealt_server == cost.offline_bytes


def test_the_choice_follows_the_rates() -> None:
    assert not choose(MobileNetV2(32, 32).network()), "its 3 x 3 are strided or depthwise"
    deep = ResNet(64, 64, small=True).network()
    slow_products = choose(deep, Rates(1e6, 1e12, 1e12, 1e12))
    assert set(slow_products.values()) == {4}, "multiply-adds decide"
    slow_words = choose(deep, Rates(1e15, 1e15, 1e15, 1e3))
    assert not slow_words, "larger weights decide"
