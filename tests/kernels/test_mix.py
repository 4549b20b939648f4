"""Sums, reductions and shifts in one pass, and centred rows: as NumPy does them, on every path."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from veilform import kernels

SHIFT = st.integers(0, 63)


def words(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(0, 2**64, shape, np.uint64)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    shape=st.lists(st.integers(0, 40), min_size=1, max_size=3), two=st.booleans(),
    signs=st.tuples(st.booleans(), st.booleans()), plus=st.integers(-(2**63), 2**64 - 1),
    bits=st.integers(1, 64), right=SHIFT, then=st.integers(0, 3), left=SHIFT,
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_mix(path: str, shape, two, signs, plus, bits, right, then, left, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = words(rng, *shape), words(rng, *shape) if two else None
    got = kernels.mix(
        a, b, negate_a=signs[0], negate_b=signs[1], plus=plus, bits=bits, right=right, then=then,
        left=left,
    )  # fmt: skip
    first = np.zeros(shape, np.uint64) - a if signs[0] else a
    second = np.uint64(0) if b is None else np.zeros(shape, np.uint64) - b if signs[1] else b
    whole = (first + second + np.uint64(plus % 2**64)) & np.uint64(2**bits - 1)
    wanted = ((whole >> np.uint64(right)) + np.uint64(then)) << np.uint64(left)
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("shape", [(1,), (5, 1), (3, 7), (2, 3, 768), (1, 4, 4096)])
def test_centre(path: str, shape: tuple[int, ...]) -> None:
    x = words(np.random.default_rng(1), *shape)
    wanted = x * np.uint64(shape[-1]) - x.sum(-1, keepdims=True)
    np.testing.assert_array_equal(kernels.centre(x), wanted)


def test_strided_views_are_read_as_they_are_seen(path: str) -> None:
    x = words(np.random.default_rng(2), 6, 8)
    np.testing.assert_array_equal(kernels.mix(x[::2, 1:5]), x[::2, 1:5])
    np.testing.assert_array_equal(kernels.centre(x.T), x.T * np.uint64(6) - x.T.sum(-1)[:, None])


A = np.arange(4, dtype=np.uint64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"b": A[:3]}, "b has shape"),
        ({"b": A.astype(np.int64)}, "b must be uint64"),
        ({"a": A.astype(np.uint32)}, "a must be uint64"),
        ({"bits": 0}, "1 to 64"),
        ({"bits": 65}, "1 to 64"),
        ({"right": 64}, "shifts by 64"),
        ({"left": -1}, "shifts by 0 and -1"),
    ],
)
def test_wrong_arguments(path: str, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kernels.mix(**({"a": A} | change))
    with pytest.raises(ValueError, match="rows are centred"):
        kernels.centre(np.zeros((3, 0), np.uint64))
