"""The load test's own sums."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.scripts import load

service = load("service")


@given(st.lists(st.floats(0, 100), min_size=1), st.integers(1, 100))
def test_a_percentile_is_the_smallest_that_so_many_are_not_above(
    values: list[float], p: int
) -> None:
    ordered = sorted(values)
    found = service.percentile(ordered, p)
    assert 100 * sum(value <= found for value in ordered) >= p * len(ordered)
    below = [value for value in ordered if value < found]
    assert not below or 100 * len(below) < p * len(ordered)


def test_wrong_and_missing_answers_are_counted() -> None:
    answers = [service.Told(0, "a", 0.1, 0.2), service.Told(1, "StockError", 0.0, 0.4)]
    memory = {"early": {"server": 100.0}, "last": {"server": 103.0}}
    plain = [service.Plain(label, 0.01) for label in "abc"]
    row = service.figures(2, answers, plain, 2.0, memory)
    assert (row["asked"], row["answered"], row["wrong"]) == (3, 2, 1)
    assert row["a_second"] == 1.0
    assert row["memory_growth"]["server"] == pytest.approx(0.03)


def test_texts_and_their_labels_in_the_clear() -> None:
    texts, plain = service.texts_and_labels(3)
    assert len(set(texts)) == len(plain) == 3
    assert {each.label for each in plain} <= {"POSITIVE", "NEGATIVE"}
    assert all(0 <= each.margin <= 0.5 for each in plain)
