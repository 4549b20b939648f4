"""The best cuts of a model into stages, exactly.

A stage that holds layers i to j - 1 has a compute time, a transfer time to its successor and a
time to finish: sum gradients and update weights. With B micro-batches an iteration takes

    (B - 1) max over stages of steady + sum over stages of once + max over stages of finish,

where ``once`` is compute + transfer, and ``steady`` is the same, or the compute alone where the
model of costs says that transfers hide. Stages differ in devices and links, so each has its own
table of (L + 1, L + 1).

For a bound M on ``steady`` and a bound D on ``finish``, the least sum of ``once`` is a shortest
path over layers, stage by stage. Only M that are some stage's time matter: all of them run
through the recursion at once. D starts without a bound and falls below what the last answer
needed, for as long as the rest alone could still beat the best.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from veilform.plan.parallel.profile import Floats

BLOCK = 1 << 22
"""Entries of a table of candidates that are in memory together."""


@dataclass(frozen=True)
class StageCosts:
    """Seconds of every possible stage, as (pp, L + 1, L + 1): [s, i, j] is layers i to j - 1.

    Attributes:
        compute: of one micro-batch, forward and backward.
        transfer: of one micro-batch to the next stage.
        finish: to sum the gradients over the copies and update the weights, once.
        memory: bytes on each device.
        limit: bytes that each stage's smallest device has, (pp,).
        hidden: transfers delay only the first micro-batch.
    """

    compute: Floats
    transfer: Floats
    finish: Floats
    memory: Floats
    limit: Floats
    hidden: bool

    @property
    def once(self) -> Floats:
        """What every stage adds once."""
        return self.compute + self.transfer

    @property
    def steady(self) -> Floats:
        """What the slowest stage adds for each further micro-batch."""
        return self.compute if self.hidden else self.once

    def fits(self) -> NDArray[np.bool_]:
        """Where a stage is not empty and its memory suffices."""
        layers = self.compute.shape[1]
        upper = np.triu(np.ones((layers, layers), bool), 1)
        return upper & (self.memory <= self.limit[:, None, None])


def best_cuts(
    costs: StageCosts, micro_batches: int, below: float = np.inf
) -> tuple[float, tuple[int, ...]] | None:
    """The least seconds, and the cuts that take them.

    None if no cuts fit in memory, or none take less than ``below``.
    """
    once, steady, finish, fits = costs.once, costs.steady, costs.finish, costs.fits()
    best: tuple[float, tuple[int, ...]] | None = None
    while True:
        found = _without_finish(once, steady, fits, micro_batches, below)
        if found is None:
            return best
        stages = list(enumerate(pairwise(found[1])))
        slowest = max(float(finish[s, i, j]) for s, (i, j) in stages)
        if found[0] + slowest < below:
            below = found[0] + slowest
            best = below, found[1]
        fits = fits & (finish < slowest)


def _without_finish(
    once: Floats, steady: Floats, fits: NDArray[np.bool_], micro_batches: int, below: float
) -> tuple[float, tuple[int, ...]] | None:
    """The best by the first two terms alone, if they are less than ``below``."""
    further = micro_batches - 1
    free = np.where(fits, once, np.inf)
    (least_sum,), (loosest,) = _shortest(free[None])
    least = _least_maximum(np.where(fits, steady, np.inf))
    if not further * least + least_sum < below:
        return None
    if not further:
        return float(least_sum), tuple(loosest.tolist())

    def under(bounds: Floats) -> tuple[float, tuple[int, ...]]:
        allowed = steady[None] <= bounds[:, None, None, None]
        sums, cuts = _shortest(np.where(allowed, free[None], np.inf))
        totals = further * bounds + sums
        first = int(totals.argmin())
        return float(totals[first]), tuple(cuts[first].tolist())

    best = under(np.array([least]))
    # A maximum above this one loses even with the least sum of all.
    most = (min(best[0], below) - float(least_sum)) / further
    candidates = np.unique(steady[fits & (steady > least) & (steady <= most)])
    size = max(1, BLOCK // free.size)
    for start in range(0, len(candidates), size):
        best = min(best, under(candidates[start : start + size]))
    return best if best[0] < below else None


def _shortest(lengths: Floats) -> tuple[Floats, NDArray[np.intp]]:
    """Least sums (n,) and cuts (n, pp + 1) through tables of lengths (n, pp, L + 1, L + 1)."""
    count, stages, nodes, _ = lengths.shape
    reached = np.full((count, nodes), np.inf)
    reached[:, 0] = 0
    came = np.empty((stages, count, nodes), np.intp)
    for stage in range(stages):
        through = reached[:, :, None] + lengths[:, stage]
        came[stage] = through.argmin(1)
        reached = through.min(1)
    cuts = np.empty((count, stages + 1), np.intp)
    cuts[:, stages] = nodes - 1
    for stage in reversed(range(stages)):
        cuts[:, stage] = came[stage, np.arange(count), cuts[:, stage + 1]]
    return reached[:, -1], cuts


def _least_maximum(lengths: Floats) -> float:
    """The least possible maximum over stages, of lengths (pp, L + 1, L + 1)."""
    reached = np.full(lengths.shape[1], np.inf)
    reached[0] = 0
    for stage in lengths:
        reached = np.maximum(reached[:, None], stage).min(0)
    return float(reached[-1])


def least_excess(costs: StageCosts) -> float:
    """Bytes beyond its device's that the fullest stage has, with the cuts that need least."""
    upper = np.triu(np.ones(costs.compute.shape[1:], bool), 1)
    excess = costs.memory - costs.limit[:, None, None]
    return _least_maximum(np.where(upper, excess, np.inf))
