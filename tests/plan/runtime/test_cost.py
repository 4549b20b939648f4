"""Seconds on accelerators as dollars and joules."""

from __future__ import annotations

import math

import pytest

from veilform.errors import InputError
from veilform.plan.runtime import A100, V100, dollars, joules


def test_an_hour_on_eight() -> None:
    assert dollars(3600, 8) == pytest.approx(8 * 4.096)
    assert dollars(3600, 8, V100.price) == pytest.approx(8 * 3.06)
    assert joules(3600, 8) == pytest.approx(8 * A100.watts * 3600)
    assert joules(2, 3, watts=100, pue=1.1) == pytest.approx(660)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1.0,), "seconds must be a number of at least 0"),
        ((math.nan,), "seconds must be"),
        ((1.0, 0), "at least one accelerator"),
        ((1.0, 1, -4.0), "the price must be"),
    ],
)
def test_dollars_refuses(arguments: tuple[float, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dollars(*arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(("watts", "pue"), [(-1.0, 1.0), (400.0, 0.9), (math.inf, 1.0)])
def test_joules_refuses(watts: float, pue: float) -> None:
    with pytest.raises(InputError, match="must be a number of at least"):
        joules(1.0, 1, watts, pue)
