"""The packed 4-bit product: every path against integers, at every edge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from veilform import kernels
from veilform.kernels.int4 import matmul4, pack4, panels4, reference4, unpack4

SIZES = st.integers(1, 40)


def small(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(-8, 8, shape, np.int8)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(m=SIZES, k=SIZES, n=st.integers(1, 150), seed=st.integers(0, 2**32))
def test_products_are_exact(path: str, m: int, k: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = small(rng, m, k), small(rng, n, k)
    expected = a.astype(np.int32) @ b.astype(np.int32).T
    left, right = pack4(a), panels4(b)
    assert np.array_equal(unpack4(left.data, k), a)
    assert np.array_equal(reference4(left, right), expected)
    assert np.array_equal(matmul4(left, right), expected)


@pytest.mark.parametrize("left", [-8, 7])
@pytest.mark.parametrize("right", [-8, 7])
def test_extremes_over_a_long_inner_axis(path: str, left: int, right: int) -> None:
    k = 5003
    a, b = np.full((7, k), left, np.int8), np.full((17, k), right, np.int8)
    assert (matmul4(pack4(a), panels4(b)) == left * right * k).all()


def test_threads_do_not_matter(path: str) -> None:
    rng = np.random.default_rng(1)
    a, b = pack4(small(rng, 200, 64)), panels4(small(rng, 400, 64))
    kernels.set_threads(1)
    one = matmul4(a, b)
    kernels.set_threads(3)
    assert np.array_equal(matmul4(a, b), one)


def test_no_rows(path: str) -> None:
    assert matmul4(pack4(np.zeros((0, 8), np.int8)), panels4(np.zeros((3, 8), np.int8))).size == 0


def test_wrong_operands() -> None:
    with pytest.raises(ValueError, match="must be int8"):
        pack4(np.zeros((2, 2), np.int16))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"lies in -8\.\.7"):
        pack4(np.full((2, 2), 8, np.int8))
    with pytest.raises(ValueError, match="not shape"):
        pack4(np.zeros(4, np.int8))
    with pytest.raises(ValueError, match="inner axes differ: 8 and 9"):
        matmul4(pack4(np.zeros((2, 8), np.int8)), panels4(np.zeros((2, 9), np.int8)))
