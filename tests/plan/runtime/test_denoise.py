"""What a black box adds goes away: a constant, and contention in some trials."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plan.runtime.exact import models, samples, seconds

from veilform.errors import InputError
from veilform.plan.runtime import RuntimeModel, Sample, denoise
from veilform.plan.runtime.denoise import least


@st.composite
def black_boxes(draw: st.DrawFn) -> RuntimeModel:
    """Models whose one-token prompt costs what a token costs and longer ones no less."""
    model = draw(models())
    longer = {p + 1: model.beta + each for p, each in model.alpha.items()}
    return replace(model, alpha={1: model.beta, **longer}, overhead=draw(seconds))


@given(black_boxes(), st.lists(st.floats(0, 5), min_size=1, max_size=3))
def test_gives_the_model_and_the_overhead_back(box: RuntimeModel, noise: list[float]) -> None:
    quiet = samples(box)
    trials = [Sample(p, o, t + extra) for extra in (0, *noise) for p, o, t in quiet]
    found = denoise(trials)
    assert found.overhead == pytest.approx(box.overhead)
    assert found.beta == pytest.approx(box.beta)
    assert found.alpha == pytest.approx(box.alpha)


def test_the_overhead_is_not_negative() -> None:
    """A first token below beta: nothing is left for an overhead."""
    found = denoise([Sample(1, 1, 0.5), Sample(1, 2, 1.5), Sample(1, 3, 2.5)])
    assert found == RuntimeModel(1.0, {1: 0.5}, overhead=0.0)


def test_no_prompt_is_faster_than_one_token() -> None:
    trials = [Sample(1, 1, 2.0), Sample(1, 2, 3.0), Sample(9, 1, 1.9), Sample(9, 2, 2.9)]
    found = denoise(trials)
    assert found.overhead == pytest.approx(1.0)
    assert found.alpha == pytest.approx({1: 1.0, 9: 1.0})


def test_least() -> None:
    assert least([Sample(2, 1, 3.0), Sample(1, 1, 2.0), Sample(2, 1, 1.0)]) == [
        Sample(1, 1, 2.0),
        Sample(2, 1, 1.0),
    ]


@pytest.mark.parametrize(
    ("trials", "message"),
    [
        ([Sample(2, 1, 1.0), Sample(2, 2, 2.0)], "no sample with a prompt of 1 token"),
        ([Sample(1, 1, 1.0), Sample(2, 1, 2.0)], "one output size: time longer"),
        ([Sample(1, 1, 2.0), Sample(1, 2, 1.0)], "do not grow"),
        ([], "no samples"),
    ],
)
def test_refuses(trials: list[Sample], message: str) -> None:
    with pytest.raises(InputError, match=message):
        denoise(trials)
