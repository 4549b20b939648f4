"""Which device takes which rank.

Tensor-parallel groups stay inside a machine: that is where their layers were timed. Equal
machines in another order are the same placement, so only orders that differ are tried, each with
the machines along the stages and along the pipelines. On a cluster of unlike machines annealing
goes on from there: it swaps two groups, at a temperature that starts at the spread of the costs
of random swaps and falls to a thousandth of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from veilform.plan.parallel.cluster import Cluster

ORDERS = 24
"""Orders of unlike machines that are tried at most."""
STEPS = 120
PROBES = 16
"""Random swaps whose costs say how far they spread."""
COLDEST = 1e-3
SEED = 0


def in_order(cluster: Cluster) -> tuple[int, ...]:
    """Device r has rank r, as in the published experiments."""
    return tuple(range(cluster.size))


def candidates(tp: int, dp: int, pp: int, cluster: Cluster) -> list[tuple[int, ...]]:
    """Placements to start from; ``tp`` divides the devices of each machine."""
    found: dict[tuple[int, ...], None] = {}
    starts = np.concatenate([[0], np.cumsum([node.count for node in cluster.nodes])])
    for order in islice(_orders(cluster), ORDERS):
        devices = np.concatenate([np.arange(starts[n], starts[n + 1]) for n in order])
        along_pipelines = devices.reshape(dp, pp, tp).transpose(1, 0, 2).ravel()
        for each in (devices, along_pipelines):
            found[tuple(each.tolist())] = None
    return list(found)


def _orders(cluster: Cluster) -> Iterator[tuple[int, ...]]:
    """Orders of the machines; of equal machines the lower number comes first."""

    def extend(chosen: tuple[int, ...], left: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if not left:
            yield chosen
        first = {cluster.nodes[n]: n for n in reversed(left)}
        for number in sorted(first.values()):
            yield from extend((*chosen, number), tuple(n for n in left if n != number))

    return extend((), tuple(range(len(cluster.nodes))))


def anneal(
    start: tuple[int, ...], tp: int, cost: Callable[[tuple[int, ...]], float]
) -> tuple[tuple[int, ...], float]:
    """The best placement found by swapping tensor-parallel groups, and its cost."""
    random = np.random.default_rng(SEED)
    groups = np.array(start).reshape(-1, tp)
    current = cost(start)
    best = start, current
    if len(groups) < 2:
        return best

    def swapped() -> NDArray[np.intp]:
        one, other = random.choice(len(groups), 2, replace=False)
        neighbour = groups.copy()
        neighbour[[one, other]] = neighbour[[other, one]]
        return neighbour

    spread = float(np.std([cost(_flat(swapped())) for _ in range(PROBES)]))
    for step in range(STEPS):
        neighbour = swapped()
        found = cost(_flat(neighbour))
        temperature = spread * COLDEST ** (step / STEPS)
        if found <= current or random.random() < _acceptance(found - current, temperature):
            groups, current = neighbour, found
            if current < best[1]:
                best = _flat(groups), current
    return best


def _acceptance(worse: float, temperature: float) -> float:
    return float(np.exp(-worse / temperature)) if temperature > 0 else 0.0


def _flat(groups: NDArray[np.intp]) -> tuple[int, ...]:
    return tuple(groups.ravel().tolist())
