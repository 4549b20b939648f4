"""Rates are found from runs, are never negative, and come back from their file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from veilform.errors import InputError
from veilform.plan.private import offline
from veilform.plan.private.machine import Machine, Measured, fit, least_squares
from veilform.plan.private.rehearse import KINDS

REAL = Machine("real", 0.01, 2e-5, {kind: 1e-9 * (i + 1) for i, kind in enumerate(KINDS)})


def rows_of(machine: Machine, count: int = 60) -> list[Measured]:
    rng = np.random.default_rng(3)
    rates = [machine.start, machine.step, *machine.unit.values()]
    counts = [
        [1.0, float(rng.integers(1, 500)), *(10 ** rng.uniform(3, 8, len(KINDS)))]
        for _ in range(count)
    ]
    return [Measured(row, float(np.dot(row, rates))) for row in counts]


def test_exact_runs_give_the_rates_back() -> None:
    found = fit(rows_of(REAL), "found")
    assert found.error < 0.02
    rates = [found.start, found.step, *found.unit.values()]
    for row in rows_of(REAL, 90)[60:]:
        assert np.dot(row.counts, rates) == pytest.approx(row.seconds, rel=0.05)


def test_too_few_runs() -> None:
    with pytest.raises(InputError, match="too few"):
        fit(rows_of(REAL, 5), "few")


@given(arrays(np.float64, (6, 3), elements=st.floats(0, 10)), st.data())
def test_least_squares_is_the_best_that_is_not_negative(a: np.ndarray, data: st.DataObject) -> None:
    """At the best x the slope is 0 along what is used, and upwards along what is not."""
    b = data.draw(arrays(np.float64, (6,), elements=st.floats(-10, 10)))
    x = least_squares(a, b)
    assert (x >= 0).all()
    slope = a.T @ (a @ x - b)
    scale = np.sqrt((a * a).sum(axis=0)) + 1e-12
    used = x * scale > 1e-6
    assert (np.abs(slope[used] / scale[used]) < 1e-3).all()
    assert (slope[~used] / scale[~used] > -1e-3).all()


def test_a_file_comes_back(tmp_path: Path) -> None:
    machine = Machine("mine", 0.5, 1.0, REAL.unit, {"words": 3.0}, 0.1)
    machine.save(tmp_path / "machine.json")
    assert Machine.load(tmp_path / "machine.json") == machine


def test_the_machine_that_is_there_without_a_file() -> None:
    machine = Machine.load()
    assert machine.step > 0
    assert set(machine.offline) == set(offline.KINDS)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"name": "x"}',
        '{"name":"x","start":0,"step":-1,"unit":{}}',
        '{"name": 5',
    ],
)
def test_what_is_no_machine(content: str, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(content)
    with pytest.raises(InputError, match="veilform bench machine"):
        Machine.load(tmp_path / "m.json")
    with pytest.raises(InputError, match="cannot read"):
        Machine.load(tmp_path / "none.json")
