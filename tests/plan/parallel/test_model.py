"""What must hold of every prediction of the default model."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, permutations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.plan.parallel.shared import FAST, SLOW, mixed, small_profile

from veilform.errors import InputError
from veilform.plan.parallel import Cluster, LayerProfile, Node, Strategy, Timing, predict, search
from veilform.plan.parallel.affine import affine
from veilform.plan.parallel.placement import anneal, candidates

BATCH = 16
PROFILE = small_profile()


@st.composite
def chosen(draw: st.DrawFn) -> Strategy:
    tp, dp, pp = draw(st.sampled_from([(1, 8, 1), (1, 4, 2), (2, 2, 2), (1, 2, 4), (2, 1, 4)]))
    micro_batch = draw(st.sampled_from([m for m in (1, 2, 4) if BATCH % (dp * m) == 0]))
    inner = draw(st.sets(st.integers(1, 5), min_size=pp - 1, max_size=pp - 1))
    groups = np.arange(8).reshape(-1, tp)[draw(st.permutations(range(8 // tp)))]
    cuts = (0, *sorted(inner), 6)
    return Strategy(tp, dp, pp, micro_batch, cuts, tuple(int(each) for each in groups.ravel()))


@given(strategy=chosen(), swap=st.booleans())
def test_equal_devices_can_be_exchanged(strategy: Strategy, swap: bool) -> None:
    cluster = mixed()
    # Devices 0 and 1 are of one machine; machines (0, 1) and (2, 3) are equal.
    renamed = {0: 1, 1: 0} if swap else {0: 2, 1: 3, 2: 0, 3: 1}
    other = replace(strategy, placement=tuple(renamed.get(d, d) for d in strategy.placement))
    one = predict(strategy, PROFILE, cluster, BATCH)
    assert predict(other, PROFILE, cluster, BATCH).seconds == pytest.approx(one.seconds, rel=1e-12)


@given(
    strategy=chosen(),
    machine=st.integers(0, 3),
    link=st.sampled_from(["inside_gbps", "between_gbps", "memory_gb_s"]),
    factor=st.floats(1, 100),
)
def test_a_faster_link_is_never_worse(
    strategy: Strategy, machine: int, link: str, factor: float
) -> None:
    nodes = [FAST, FAST, SLOW, SLOW]
    nodes = [msgspec.structs.replace(node, memory_gb_s=500) for node in nodes]
    faster = list(nodes)
    value = getattr(nodes[machine], link) * factor
    faster[machine] = msgspec.structs.replace(nodes[machine], **{link: value})
    one = predict(strategy, PROFILE, Cluster(nodes), BATCH)
    other = predict(strategy, PROFILE, Cluster(faster), BATCH)
    assert other.seconds <= one.seconds * (1 + 1e-12)


@given(strategy=chosen())
def test_the_breakdown_adds_up(strategy: Strategy) -> None:
    one = predict(strategy, PROFILE, mixed(), BATCH)
    times = [c + t for c, t in zip(one.compute_s, one.transfer_s, strict=True)]
    assert one.steady_s == pytest.approx((one.micro_batches - 1) * max(times))
    assert one.fill_s + one.sent_s == pytest.approx(sum(times))
    assert one.transfer_s[-1] == 0
    parts = one.as_dict()["breakdown"]
    assert sum(parts.values()) == pytest.approx(one.as_dict()["predicted_s"])


@given(strategy=chosen())
def test_a_strategy_survives_json(strategy: Strategy) -> None:
    assert Strategy.from_dict(strategy.as_dict()) == strategy


def test_each_stage_has_its_own_devices_time() -> None:
    cluster = Cluster([FAST, SLOW])
    own = predict(Strategy(2, 1, 2, 1, (0, 3, 6)), PROFILE, cluster, 1).compute_s
    fast = predict(Strategy(2, 1, 2, 1, (0, 3, 6)), PROFILE, Cluster([FAST] * 2), 1).compute_s
    slow = predict(Strategy(2, 1, 2, 1, (0, 3, 6)), PROFILE, Cluster([SLOW] * 2), 1).compute_s
    assert own == (fast[0], slow[1])
    # A stage on both is as slow as the slower one.
    across = Strategy(1, 2, 2, 1, (0, 3, 6), (0, 2, 1, 3))
    both = predict(across, PROFILE, cluster, 2).compute_s
    alone = Strategy(1, 2, 2, 1, (0, 3, 6))
    assert both == predict(alone, PROFILE, Cluster([SLOW] * 2), 2).compute_s


def test_rings_that_leave_a_machine_share_its_link() -> None:
    """Two groups of two copies on two machines: each sums half the weights at half the rate."""
    node = Node("fast", 2, inside_gbps=100, between_gbps=10)
    cluster = Cluster([node] * 2)
    copies = predict(Strategy(2, 2, 1, 1, (0, 6)), PROFILE, cluster, 2).finish_s
    weights = 4 * 4e6 + 9e6
    assert copies == pytest.approx(2 * 1 / 2 * (weights / 2) / (10e9 / 32 / 2))


def test_the_line_over_several_micro_batches() -> None:
    profile = small_profile(micro_batches=(1, 2, 4))
    fixed, slope = affine(profile, "fast", 1, 1e9)
    np.testing.assert_allclose(fixed[1:-1], 0.8e-3)
    np.testing.assert_allclose(slope[1:-1], 3.2e-3)
    np.testing.assert_allclose([fixed[0], slope[0]], [1e-3, 0], atol=1e-12)
    np.testing.assert_allclose([fixed[-1], slope[-1]], [0, 2e-3], atol=1e-12)


@given(micro=st.lists(st.floats(0, 1), min_size=2, max_size=2), tp=st.sampled_from([1, 2]))
def test_no_part_of_the_line_is_negative(micro: list[float], tp: int) -> None:
    layers = PROFILE.layers[1:2]
    timings = tuple(Timing("fast", tp, m, (s,)) for m, s in zip((1, 4), micro, strict=True))
    fixed, slope = affine(LayerProfile("one", layers, timings), "fast", tp, 1e9)
    assert fixed[0] >= 0
    assert slope[0] >= 0


def test_one_micro_batch_reproduces_its_timing() -> None:
    for tp in (1, 2):
        fixed, slope = affine(PROFILE, "slow", tp, 1e9)
        np.testing.assert_allclose(fixed + slope, PROFILE.seconds("slow", tp)[1])
        assert (fixed >= 0).all()


def test_emulated_timings_get_the_exchange_added() -> None:
    timings = tuple(msgspec.structs.replace(t, emulated=t.tp > 1) for t in PROFILE.timings)
    emulated = replace(PROFILE, timings=timings)
    fixed, slope = affine(emulated, "fast", 2, 1e9)
    ring = 2 * 1 / (2 * 1e9) * 2e6 / 2
    np.testing.assert_allclose((fixed + slope - PROFILE.seconds("fast", 2)[1])[1:-1], ring)


@settings(deadline=None, max_examples=10)
@given(memory=st.floats(2.5, 6), batch=st.sampled_from([4, 16]))
def test_every_plan_fits_and_less_memory_is_never_faster(memory: float, batch: int) -> None:
    def best(memory_gb: float | None) -> float:
        node = msgspec.structs.replace(FAST, memory_gb=memory_gb)
        plans = search(PROFILE, Cluster([node] * 2), batch)
        for plan in plans:
            assert plan.prediction.fits
            assert memory_gb is None or max(plan.prediction.stage_bytes) <= memory_gb * 1e9
        return plans[0].seconds

    assert best(None) <= best(memory + 1) <= best(memory)


def test_nothing_fits() -> None:
    node = msgspec.structs.replace(FAST, memory_gb=1.1)
    with pytest.raises(InputError, match=r"closest needs 0\.\d GB more on a device"):
        search(PROFILE, Cluster([node] * 2), 8)


def test_a_mixed_cluster_is_searched_for_places() -> None:
    plans = search(PROFILE, mixed(), BATCH)
    seconds = [plan.seconds for plan in plans]
    assert seconds == sorted(seconds)
    assert len({plan.strategy.as_dict().__repr__() for plan in plans}) == len(plans)
    in_order = [replace(plan.strategy, placement=()) for plan in plans[:3]]
    for plan, strategy in zip(plans, in_order, strict=False):
        assert plan.seconds <= predict(strategy, PROFILE, mixed(), BATCH).seconds
    # The same search again gives the same plans.
    assert search(PROFILE, mixed(), BATCH, top=1) == plans[:1]


def test_equal_machines_have_one_order() -> None:
    assert len(candidates(1, 1, 8, Cluster([FAST] * 4))) == 1
    assert len(candidates(1, 1, 8, mixed())) == 6
    # Copies inside a machine, or over machines.
    assert len(candidates(1, 2, 4, Cluster([FAST] * 4))) == 2


def test_annealing_finds_the_place_that_costs_least() -> None:
    wanted = (3, 1, 0, 2)

    def cost(place: tuple[int, ...]) -> float:
        return float(sum(abs(a - b) for a, b in zip(place, wanted, strict=True)))

    assert anneal((0, 1, 2, 3), 1, cost) == (wanted, 0)
    assert anneal((0, 1), 2, lambda place: 1.0) == ((0, 1), 1.0)


@pytest.mark.parametrize(("fast_gbps", "slow_gbps"), [(10, 40), (1, 1), (200, 5)])
def test_the_best_place_of_all_is_found(fast_gbps: float, slow_gbps: float) -> None:
    """Two unlike machines of two devices: every strategy, place and cut, tried one by one."""
    nodes = [
        msgspec.structs.replace(FAST, between_gbps=fast_gbps),
        msgspec.structs.replace(SLOW, between_gbps=slow_gbps),
    ]
    cluster, profile = Cluster(nodes), small_profile(5)
    least = min(
        predict(Strategy(1, dp, pp, m, (0, *cuts, 5), place), profile, cluster, 8).seconds
        for dp, pp in ((1, 4), (2, 2), (4, 1))
        for m in (1, 2, 4, 8)
        if 8 % (dp * m) == 0
        for cuts in combinations(range(1, 5), pp - 1)
        for place in permutations(range(4))
    )
    only = replace(profile, timings=tuple(t for t in profile.timings if t.tp == 1))
    assert search(only, cluster, 8)[0].seconds == pytest.approx(least, rel=1e-9)
