"""Image models in the planner: bytes exact, views of images told beside products."""

from __future__ import annotations

import pytest

from veilform.models.sides import ServerSide
from veilform.models.vision.config import ResNet
from veilform.nn.convolution import Convolution
from veilform.plan.convolution import RATES, choose, with_dealer
from veilform.plan.cost import Report
from veilform.plan.private.estimate import estimate
from veilform.plan.private.machine import Machine
from veilform.plan.random_network import random_network_side
from veilform.plan.two_settings import settings, viewed_seconds
from veilform.transport import links

FAMILY = ResNet(16, 16, 3, 4, (1,), (8,), True)


@pytest.fixture(scope="module")
def side() -> ServerSide:
    return random_network_side(FAMILY)


def test_what_is_planned_is_the_trace(side: ServerSide) -> None:
    for batch in (1, 3):
        shape = side.run_shape(batch)
        found = estimate(side, shape, Machine.load(), links.parse("lan"))
        assert found.report.as_dict() == Report(side.trace(shape)).as_dict()
        assert found.online.seconds > 0.001 * found.report.trace.messages / 2
        assert found.offline_seconds > 0


def test_views_take_their_time(side: ServerSide) -> None:
    """Patches or tiles are written for each 3 x 3 convolution: three, of 16 x 16 images."""
    network = FAMILY.network()
    tiles, direct = choose(network), with_dealer(Convolution(3, 8), 16, 16)
    costs = [
        with_dealer(conv, 16, 16, tiles.get(branch.name, 0))
        for branch, conv, _ in network.convolutions()
    ]
    assert len(costs) == 3
    assert direct.patched == 16 * 16 * 9 * 3
    wanted = 2 * sum(cost.view_seconds(RATES) for cost in costs)
    assert viewed_seconds(side, 2) == pytest.approx(wanted)


def test_both_settings_name_each_convolution(side: ServerSide) -> None:
    both = settings(FAMILY.network(), side.scales)  # type: ignore[attr-defined]
    assert [row.name for row in both.convolutions] == ["conv1", "layer1.0.conv1", "layer1.0.conv2"]
    assert all(row.transferred is not None for row in both.convolutions)
    document = both.as_dict()
    sent = sum(row["without_dealer"]["bytes"] for row in document["convolutions"].values())
    assert sent == pytest.approx(document["best_bytes"], abs=3)
