"""The timeline is a schedule: nothing overlaps, nothing starts before what it needs."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plan.parallel.shared import FAST, small_profile

from veilform.plan.parallel import Cluster, Prediction, search
from veilform.plan.parallel.timeline import draw, schedule

times = st.lists(st.floats(0.1, 5), min_size=1, max_size=5)


def prediction(compute: list[float], count: int) -> Prediction:
    none = tuple(0.0 for _ in compute)
    return Prediction(count, tuple(compute), none, 0, 0, 0, 0, none, fits=True)


@given(compute=times, count=st.integers(1, 8))
def test_it_is_a_schedule(compute: list[float], count: int) -> None:
    spans = schedule(prediction(compute, count))
    ends = {(s.stage, s.micro_batch, s.step): s for s in spans}
    assert len(ends) == len(spans) == 2 * count * len(compute)
    for stage in range(len(compute)):
        own = [s for s in spans if s.stage == stage]
        assert all(one.end <= other.start + 1e-9 for one, other in pairwise(own))
        running = 0
        for span in own:
            running += 1 if span.step == "forward" else -1
            assert 0 <= running <= len(compute) - stage  # what memory was counted for
    for s in spans:
        neighbour = s.stage + (-1 if s.step == "forward" else 1)
        if 0 <= neighbour < len(compute):
            assert ends[neighbour, s.micro_batch, s.step].end <= s.start + 1e-9
        if s.step == "backward":
            assert ends[s.stage, s.micro_batch, "forward"].end <= s.start + 1e-9
    # No schedule can be faster than the slowest stage, with one micro-batch before and after.
    last = max(s.end for s in spans)
    assert last >= count * max(compute) - 1e-9


@given(stages=st.integers(1, 5), count=st.integers(1, 8))
def test_equal_stages_take_what_the_formula_says(stages: int, count: int) -> None:
    last = max(s.end for s in schedule(prediction([3.0] * stages, count)))
    assert last == pytest.approx((count - 1) * 3 + stages * 3)


def test_it_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plan = search(small_profile(), Cluster([FAST] * 2), 8, top=1)[0]
    draw(plan, tmp_path / "plan.svg", "a plan")
    assert "<svg" in (tmp_path / "plan.svg").read_text(encoding="utf-8")
