"""The frontier is what trying every mix finds."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilform.errors import InputError, ModelError
from veilform.plan.private.budget import Choice, cheapest, frontier
from veilform.plan.private.change import change
from veilform.plan.private.money import Prices, dollars

CHOICES = st.lists(
    st.builds(
        lambda s, c: Choice("quad", "2quad", s / 8, c / 8), st.integers(1, 40), st.integers(0, 40)
    ),
    min_size=1,
    max_size=4,
)


@given(st.lists(CHOICES, min_size=1, max_size=4), st.integers(0, 100))
def test_no_mix_beats_the_frontier(layers: list[list[Choice]], limit: int) -> None:
    mixes = frontier(0.5, layers)
    seconds = [mix.seconds for mix in mixes]
    changes = [mix.change for mix in mixes]
    assert seconds == sorted(set(seconds))
    assert changes == sorted(set(changes), reverse=True)
    within = [
        sum(each.change for each in combination)
        for combination in itertools.product(*layers)
        if 0.5 + sum(each.seconds for each in combination) <= limit / 4
    ]
    if within:
        best = cheapest(mixes, limit / 4)
        assert best.change == min(within)
        assert best.seconds == 0.5 + sum(layer.seconds for layer in best.layers)
        assert len(best.layers) == len(layers)
    else:
        with pytest.raises(InputError, match="no mix answers within"):
            cheapest(mixes, limit / 4)


def test_functions_change_less_the_nearer_they_are() -> None:
    assert change("gelu", "gelu", 16) == change("2quad", "2quad", 16) == 0
    assert change("gelu", "fourier-gelu", 16) < change("gelu", "relu", 16)
    assert change("gelu", "relu", 16) < change("gelu", "quad", 16)
    assert change("softmax", "softmax-ode", 64) < change("softmax", "2relu", 64)
    assert 0 < change("softmax", "2quad", 64) <= 1
    with pytest.raises(ModelError):
        change("gelu", "softmax", 16)


def test_dollars() -> None:
    found = dollars(3600.0, 7200.0, 2 * 10**9, Prices(hour=1.0, egress=0.5))
    assert found == (8.0, 1.0)
    assert found.total == 9.0
