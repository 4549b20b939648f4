"""Cosines and sines: every path equals the reference, which is right to 28 bits and never moves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from veilform import kernels
from veilform.kernels import reference

common = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True, database=None,
)  # fmt: skip
periods = st.integers(1, 32)
orders = st.one_of(st.integers(1, 64), st.just(kernels.MOST_ORDER))
coefficients = st.one_of(st.integers(-(2**30), 2**30), st.sampled_from([0, 1, -1, 2**30, -(2**30)]))


def draw(rng: np.random.Generator, size: int, period: int) -> np.ndarray:
    """Words, and among them the eighths of a turn and their neighbours."""
    eighths = [
        (j << period) // 8 + d + (m << period) for j in range(8) for d in (-1, 0, 1) for m in (0, 9)
    ]
    edges = np.array([e % 2**64 for e in eighths], np.uint64)
    out = rng.integers(0, 2**64, size, np.uint64)
    return np.where(rng.random(size) < 0.4, rng.choice(edges, size), out)


def exact(x: np.ndarray, period: int, order: int) -> tuple[np.ndarray, np.ndarray]:
    turn = [(order * int(v)) % 2**period for v in x]
    angle = 2 * np.pi * np.array(turn, np.float64) / 2**period
    return np.cos(angle), np.sin(angle)


@common
@given(
    period=periods, order=orders, scale=st.integers(2, 30), size=st.sampled_from([0, 1, 7, 300]),
    seed=st.integers(0, 2**32),
)  # fmt: skip
def test_phasor(path: str, period: int, order: int, scale: int, size: int, seed: int) -> None:
    x = draw(np.random.default_rng(seed), size, period)
    got = kernels.phasor(x, period, order, scale)
    for one, oracle, wanted in zip(
        got, reference.phasor(x, period, order, scale), exact(x, period, order), strict=True
    ):
        np.testing.assert_array_equal(one, oracle)
        error = np.abs(one.view(np.int64) - wanted * 2.0**scale)
        assert error.max(initial=0) <= 0.5 + 2.0 ** (scale - 28)


@common
@given(
    period=periods, order=orders, a=coefficients, b=coefficients,
    size=st.sampled_from([0, 1, 7, 300]), seed=st.integers(0, 2**32),
)  # fmt: skip
def test_harmonic(path: str, period: int, order: int, a: int, b: int, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = draw(rng, size, period)
    cos, sin, onto = (rng.integers(0, 2**64, size, np.uint64) for _ in range(3))
    got, oracle = onto.copy(), onto.copy()
    kernels.harmonic(got, x, period, order, a, b, cos, sin)
    reference.harmonic(oracle, x, period, order, a, b, cos, sin)
    np.testing.assert_array_equal(got, oracle)
    one, none = np.ones(size, np.uint64), np.zeros(size, np.uint64)
    c, s = exact(x, period, order)
    for weights, wanted in (((one, none), a * c + b * s), ((none, one), a * s - b * c)):
        factor = none.copy()
        kernels.harmonic(factor, x, period, order, a, b, *weights)
        error = np.abs(factor.view(np.int64) - wanted)
        assert error.max(initial=0) <= 0.5 + 2.0**-27 * (abs(a) + abs(b))


COS = [
    1073741824,
    1073738982,
    1073730455,
    1073716243,
    -716185713,
    -1073738982,
    -1073741824,
    1073738982,
]
SIN = [0, 2470646, 4941280, 7411888, 799999706, 2470646, 0, -2470646]


def test_known_answers(path: str) -> None:
    """Both parties, on whatever machines, must find these."""
    x = np.array([0, 1, 2, 3, 1000, 4095, 4096, 2**64 - 1], np.uint64)
    cos, sin = kernels.phasor(x, 13, 3, 30)
    assert cos.view(np.int64).tolist() == COS
    assert sin.view(np.int64).tolist() == SIN


def test_every_angle_of_a_small_period(path: str) -> None:
    x = np.arange(1 << 12, dtype=np.uint64)
    cos, sin = (part.view(np.int64) for part in kernels.phasor(x, 12, 1, 20))
    unit = 1 << 20
    assert (cos[0], sin[0], cos[1024], sin[1024]) == (unit, 0, 0, unit)
    np.testing.assert_array_equal(cos, np.roll(sin, -1024))
    assert np.abs(sin[1:] + sin[:0:-1]).max() <= 1
    assert np.abs(cos**2 + sin**2 - unit**2).max() <= 2 * unit


def test_large_arrays_are_split_over_threads(path: str) -> None:
    rng = np.random.default_rng(0)
    x, cos, sin = (rng.integers(0, 2**64, (5, 20_001), np.uint64) for _ in range(3))
    results = []
    for threads in (1, 3):
        kernels.set_threads(threads)
        onto = np.zeros_like(x)
        kernels.harmonic(onto, x, 14, 5, 77, -3, cos, sin)
        results.append([onto, *kernels.phasor(x, 14, 5, 16)])
    for one, many in zip(*results, strict=True):
        np.testing.assert_array_equal(one, many)


X = np.zeros((2, 3), np.uint64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": X.astype(np.int64)}, "x must be uint64"),
        ({"x": X[0]}, "x has shape"),
        ({"cos": X[:, :1]}, "cos has shape"),
        ({"sin": X.astype(np.uint32)}, "sin must be uint64"),
        ({"onto": np.zeros((3, 2), np.uint64).T}, "onto must be C-contiguous"),
        ({"period": 0}, "1 to 32 bits"),
        ({"period": 33}, "1 to 32 bits"),
        ({"order": 0}, "order lies in"),
        ({"order": 2**16 + 1}, "order lies in"),
        ({"a": 2**30 + 1}, "within 2"),
        ({"b": -(2**30) - 1}, "within 2"),
    ],
)
def test_wrong_arguments(path: str, change: dict[str, Any], message: str) -> None:
    args = {"onto": X.copy(), "x": X, "period": 8, "order": 1, "a": 1, "b": 0, "cos": X, "sin": X}
    with pytest.raises(ValueError, match=message):
        kernels.harmonic(**(args | change))


@pytest.mark.parametrize("scale", [1, 31])
def test_wrong_scale(path: str, scale: int) -> None:
    with pytest.raises(ValueError, match="2 to 30 fraction bits"):
        kernels.phasor(X, 8, 1, scale)
