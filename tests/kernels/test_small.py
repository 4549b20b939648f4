"""Products by small weights: every path against Python's integers, at every edge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from veilform import kernels

QUICK = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
EDGES = st.sampled_from([0, 1, 255, 256, 2**63, 2**64 - 1])


def words(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(0, 2**64, shape, np.uint64)


def small(rng: np.random.Generator, k: int, n: int, shifts: np.ndarray) -> np.ndarray:
    """Signed bytes, each column times a power of two."""
    return rng.integers(-128, 128, (k, n)) << shifts


def expected(a: np.ndarray, w: np.ndarray, bits: int, onto: np.ndarray | None = None) -> np.ndarray:
    product = a @ w.astype(np.uint64)
    return (product + (0 if onto is None else onto)) & np.uint64(2**bits - 1)


@QUICK
@given(
    m=st.integers(0, 20), k=st.integers(0, 70), n=st.integers(1, 110), bits=st.integers(1, 64),
    top=st.integers(0, 40), accumulate=st.booleans(), seed=st.integers(0, 2**32),
)  # fmt: skip
def test_products_are_those_of_integers(
    path: str, m: int, k: int, n: int, bits: int, top: int, accumulate: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    a, w = words(rng, m, k), small(rng, k, n, rng.integers(0, top + 1, n))
    out = words(rng, m, n)
    onto = out.copy() if accumulate else None
    got = kernels.matmul(a, kernels.pack_small(w), bits, out, accumulate)
    assert got is out
    assert np.array_equal(got, expected(a, w, bits, onto))


@pytest.mark.parametrize("weight", [-128, -1, 1, 127])
@pytest.mark.parametrize("k", [1535, 1536, 1537, 5003])
def test_extremes_over_a_long_inner_axis(path: str, weight: int, k: int) -> None:
    """Sums of the largest bytes: 32 bits hold 65,536 steps, and blocks have fewer."""
    a = np.full((9, k), 2**64 - 1, np.uint64)
    w = np.full((k, 49), weight)
    assert np.array_equal(kernels.matmul(a, kernels.pack_small(w)), expected(a, w, 64))


@given(word=EDGES, weight=st.sampled_from([-128, -127, -1, 0, 1, 127]), bits=st.integers(1, 64))
@QUICK
def test_each_limb_carries(path: str, word: int, weight: int, bits: int) -> None:
    a = np.array([[word]], np.uint64)
    got = kernels.matmul(a, kernels.pack_small(np.array([[weight]])), bits)
    assert int(got[0, 0]) == word * weight % 2**bits


def test_every_byte_by_every_weight(path: str) -> None:
    a = np.arange(256, dtype=np.uint64)[:, None] * np.uint64(0x0101010101010101)
    w = np.arange(-128, 128)[None]
    assert np.array_equal(kernels.matmul(a, kernels.pack_small(w)), expected(a, w, 64))


def test_paths_threads_and_shapes_agree(path: str) -> None:
    rng = np.random.default_rng(1)
    a, w = words(rng, 3, 65, 384), small(rng, 384, 200, rng.integers(0, 5, 200))
    packed = kernels.pack_small(w)
    kernels.set_threads(1)
    one = kernels.matmul(a, packed, 40)
    kernels.set_threads(3)
    assert np.array_equal(kernels.matmul(a, packed, 40), one)
    assert np.array_equal(kernels.matmul(a, kernels.pack(w), 40), one), "the other kernel differs"


def test_shifts_are_the_largest() -> None:
    w = np.array([[0, 1, -4, 96, 0], [0, 2, 8, -64, -(2**62)]])
    assert kernels.shifts_of(w).tolist() == [0, 0, 2, 5, 62]


def test_wrong_operands(path: str) -> None:
    with pytest.raises(ValueError, match="column 1 is no power of two times signed bytes"):
        kernels.pack_small(np.array([[1, 1], [1, 256]]))
    with pytest.raises(ValueError, match="signed integers"):
        kernels.pack_small(np.zeros((2, 2), np.uint64))
    with pytest.raises(ValueError, match="signed integers"):
        kernels.pack_small(np.zeros(2, np.int64))
    packed = kernels.pack_small(np.ones((4, 2), np.int64))
    with pytest.raises(ValueError, match="cannot be multiplied"):
        kernels.matmul(np.zeros((2, 3), np.uint64), packed)
    with pytest.raises(ValueError, match="1 to 64 bits"):
        kernels.matmul(np.zeros((2, 4), np.uint64), packed, 65)
    other = next(each for each in kernels.available() if each != path)
    kernels.use(other)
    with pytest.raises(ValueError, match="was packed for path"):
        kernels.matmul(np.zeros((2, 4), np.uint64), packed)
