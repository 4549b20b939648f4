"""The fastest strategies of all that are valid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from veilform.errors import InputError
from veilform.plan.parallel import placement
from veilform.plan.parallel.cluster import Cluster
from veilform.plan.parallel.cuts import best_cuts, least_excess
from veilform.plan.parallel.predict import (
    Mode,
    Prediction,
    check_devices,
    costs_of,
    predict,
    summed,
)
from veilform.plan.parallel.profile import LayerProfile
from veilform.plan.parallel.strategy import Strategy

ANNEALED = 5
"""Degrees of parallelism, the best by ordered machines, for which annealing goes on."""


@dataclass(frozen=True)
class Plan:
    """A strategy and what it takes."""

    strategy: Strategy
    prediction: Prediction

    @property
    def seconds(self) -> float:
        """Predicted, of one iteration."""
        return self.prediction.seconds

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return self.strategy.as_dict() | self.prediction.as_dict()

    def runnable(self, profile: LayerProfile) -> dict[str, Any] | None:
        """What a program needs to run it, as JSON: ``cuts`` are Transformer layers of each stage.

        None if a stage has no Transformer layer.
        """
        kinds = [layer.kind for layer in profile.layers]
        counts = [kinds[i:j].count("transformer") for i, j in self.strategy.stages()]
        return self.strategy.as_dict() | {"cuts": counts} if min(counts) else None


def degrees(
    profile: LayerProfile, cluster: Cluster, global_batch: int
) -> Iterator[tuple[int, int, int, int]]:
    """Every valid (tp, dp, pp, micro-batch) that uses all devices.

    A tensor-parallel group lies in one machine, a stage has at least one layer, and the batch
    divides into micro-batches.
    """
    for tp in profile.only(*cluster.kinds).degrees:
        if any(node.count % tp for node in cluster.nodes):
            continue
        groups = cluster.size // tp
        for dp in _divisors(groups):
            if groups // dp > len(profile.layers) or global_batch % dp:
                continue
            for micro_batch in _divisors(global_batch // dp):
                yield tp, dp, groups // dp, micro_batch


def search(
    profile: LayerProfile,
    cluster: Cluster,
    global_batch: int,
    mode: Mode = "default",
    top: int | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> list[Plan]:
    """Plans, the fastest first: the best cuts and placement for each valid degree of parallelism.

    Published mode leaves the devices in order, as the paper's experiments did.

    Args:
        profile: the model's layers.
        cluster: all its devices are used.
        global_batch: samples of one iteration.
        mode: the cost model.
        top: how many plans at most; none: all.
        progress: is told what is being looked at.

    Raises:
        InputError: the batch is not positive, an unknown kind of device, no degrees are valid, or
            nothing fits in memory.
    """
    if global_batch < 1:
        raise InputError(f"a batch of {global_batch} holds no samples")
    check_devices(profile, cluster)
    best: dict[tuple[int, int, int, int], Plan] = {}
    missing: list[float] = []
    for each in degrees(profile, cluster, global_batch):
        progress("tensor x data x pipeline parallel {} x {} x {}, micro-batch {}".format(*each))
        tp, dp, pp, micro_batch = each
        places = (
            [placement.in_order(cluster)]
            if mode == "published"
            else placement.candidates(tp, dp, pp, cluster)
        )
        even = (*range(pp), len(profile.layers))
        for place in places:
            strategy = Strategy(tp, dp, pp, micro_batch, even, place)
            below = best[each].seconds if each in best else inf
            found = _with_best_cuts(strategy, profile, cluster, global_batch, mode, below)
            if isinstance(found, Plan):
                best[each] = found
            elif found > 0:
                missing.append(found)
    if not best:
        raise InputError(_nothing(profile, cluster, global_batch, missing))
    plans = sorted(best.values(), key=_order)
    if mode == "default" and cluster.mixed:
        progress("moving groups between unlike machines")
        moved = [_annealed(plan, profile, cluster, global_batch) for plan in plans[:ANNEALED]]
        plans = sorted(moved + plans[ANNEALED:], key=_order)
    return plans[:top]


def _order(plan: Plan) -> tuple[float, int]:
    return round(plan.seconds, 9), plan.strategy.micro_batch


def _with_best_cuts(
    strategy: Strategy,
    profile: LayerProfile,
    cluster: Cluster,
    global_batch: int,
    mode: Mode,
    below: float,
) -> Plan | float:
    """The strategy with its best cuts, if they take less than ``below``; or the bytes missing."""
    count = strategy.micro_batches(global_batch)
    costs = costs_of(strategy, profile, cluster, count, mode)
    found = best_cuts(costs, count, below)
    if found is None:
        return least_excess(costs)
    return Plan(replace(strategy, cuts=found[1]), summed(costs, found[1], count))


def _annealed(plan: Plan, profile: LayerProfile, cluster: Cluster, global_batch: int) -> Plan:
    """The plan, or a faster one of the same degrees. The cuts stay until the places are found."""

    def cost(place: tuple[int, ...]) -> float:
        moved = replace(plan.strategy, placement=place)
        found = predict(moved, profile, cluster, global_batch)
        return found.seconds if found.fits else 2 * found.seconds

    place, _ = placement.anneal(plan.strategy.placement, plan.strategy.tp, cost)
    moved = replace(plan.strategy, placement=place)
    found = _with_best_cuts(moved, profile, cluster, global_batch, "default", plan.seconds)
    return found if isinstance(found, Plan) else plan


def _nothing(
    profile: LayerProfile, cluster: Cluster, global_batch: int, missing: list[float]
) -> str:
    if missing:
        return (
            f"no plan fits in memory: the one that comes closest needs {min(missing) / 1e9:.1f} GB "
            "more on a device; take more devices, a smaller batch, or larger degrees of tensor "
            "parallelism"
        )
    return (
        f"no strategy uses all {cluster.size} devices for a batch of {global_batch}: the profile "
        f"{profile.name} has {len(profile.layers)} layers and tensor parallel "
        f"{', '.join(map(str, profile.degrees))}"
    )


def _divisors(number: int) -> list[int]:
    return [each for each in range(1, number + 1) if number % each == 0]
