"""Cuts are the best of all, found by trying all."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilform.plan.parallel.cuts import StageCosts, best_cuts, least_excess


def brute_force(costs: StageCosts, micro_batches: int) -> float | None:
    """The least seconds of all cuts that fit."""
    stages, layers = costs.compute.shape[0], costs.compute.shape[1] - 1
    best = None
    for inner in combinations(range(1, layers), stages - 1):
        spans = list(enumerate(pairwise((0, *inner, layers))))
        if any(costs.memory[s, i, j] > costs.limit[s] for s, (i, j) in spans):
            continue
        once = [costs.compute[s, i, j] + costs.transfer[s, i, j] for s, (i, j) in spans]
        steady = [costs.compute[s, i, j] for s, (i, j) in spans] if costs.hidden else once
        finish = max(costs.finish[s, i, j] for s, (i, j) in spans)
        total = (micro_batches - 1) * max(steady) + sum(once) + finish
        best = total if best is None else min(best, total)
    return best


@st.composite
def tables(draw: st.DrawFn) -> StageCosts:
    layers = draw(st.integers(1, 7))
    stages = draw(st.integers(1, min(4, layers)))
    # Few different values, so that there are ties; and each table on its own scale.
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([0.0, 0.1, 1.0, 20.0]))
    shape = (stages, layers + 1, layers + 1)
    compute, transfer, finish, memory = random.integers(0, 12, (4, *shape)).astype(float)
    limit = random.integers(4, 16, stages).astype(float)
    return StageCosts(compute, transfer, scale * finish, memory, limit, draw(st.booleans()))


@given(costs=tables(), micro_batches=st.integers(1, 9))
def test_cuts_are_the_best_of_all(costs: StageCosts, micro_batches: int) -> None:
    found, least = best_cuts(costs, micro_batches), brute_force(costs, micro_batches)
    if found is None or least is None:
        assert found is None
        assert least is None
        assert least_excess(costs) > 0
        return
    seconds, cuts = found
    at = (range(len(cuts) - 1), cuts[:-1], cuts[1:])
    total = (micro_batches - 1) * costs.steady[at].max() + costs.once[at].sum()
    assert seconds == pytest.approx(least)
    assert total + costs.finish[at].max() == pytest.approx(seconds)
    assert (costs.memory[at] <= costs.limit).all()


def test_what_is_missing_is_the_least_that_would_do() -> None:
    memory = np.triu(np.arange(4)[None] - np.arange(4)[:, None]).astype(float)[None].repeat(2, 0)
    zeros = np.zeros_like(memory)
    costs = StageCosts(zeros, zeros, zeros, memory, np.array([1.0, 1.0]), hidden=False)
    assert best_cuts(costs, 2) is None
    assert least_excess(costs) == 1  # 3 layers on 2 stages: one of them has 2
