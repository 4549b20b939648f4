"""The ring product on every path equals Python's integers and NumPy's wrap-around product."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from veilform import kernels
from veilform.kernels import reference

MAX = 2**64 - 1
EXTREME = np.array([0, 1, 2, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, MAX - 1, MAX], np.uint64)

# Sizes around the register tiles (4, 8, 24), the inner block (128) and the row block (96).
sizes = st.one_of(
    st.integers(0, 34), st.sampled_from([47, 48, 49, 95, 96, 97, 127, 128, 129, 130, 193, 257])
)
common = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def words(seed: int, *shape: int) -> np.ndarray:
    """Uniform words, a third of them extreme."""
    rng = np.random.default_rng(seed)
    out = rng.integers(0, MAX, shape, np.uint64, endpoint=True)
    return np.where(rng.random(shape) < 1 / 3, rng.choice(EXTREME, shape), out)


@common
@given(m=sizes, k=sizes, n=sizes, seed=st.integers(0, 2**32 - 1), threads=st.integers(1, 3))
def test_matrices(path: str, m: int, k: int, n: int, seed: int, threads: int) -> None:
    kernels.set_threads(threads)
    a, b = words(seed, m, k), words(seed + 1, k, n)
    expected = np.matmul(a, b)
    np.testing.assert_array_equal(kernels.matmul(a, b), expected)
    np.testing.assert_array_equal(kernels.matmul(a, kernels.pack(b)), expected)


@common
@given(
    batch=st.lists(st.integers(0, 3), max_size=3).map(tuple),
    m=st.integers(0, 20), k=st.integers(0, 20), n=st.integers(0, 34),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_batches(path: str, batch: tuple[int, ...], m: int, k: int, n: int, seed: int) -> None:
    a, b = words(seed, *batch, m, k), words(seed + 1, *batch, k, n)
    np.testing.assert_array_equal(kernels.matmul(a, b), np.matmul(a, b))
    shared = words(seed + 2, k, n)
    np.testing.assert_array_equal(kernels.matmul(a, kernels.pack(shared)), np.matmul(a, shared))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((64, 384), (384, 1152)),
        ((12, 64, 32), (12, 32, 64)),
        ((12, 64, 64), (12, 64, 33)),
        ((300, 200), (200, 100)),
    ],
)
def test_the_shapes_in_use(path: str, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    left, right = words(1, *a), words(2, *b)
    np.testing.assert_array_equal(kernels.matmul(left, right), np.matmul(left, right))


def test_against_integers_of_any_size(path: str) -> None:
    a, b = words(3, 5, 40), words(4, 40, 9)
    exact = [
        [sum(int(x) * int(y) for x, y in zip(row, col, strict=True)) % 2**64 for col in b.T]
        for row in a
    ]
    assert kernels.matmul(a, b).tolist() == exact


def test_every_word_at_its_maximum(path: str) -> None:
    a, b = np.full((33, 300), MAX, np.uint64), np.full((300, 50), MAX, np.uint64)
    assert (kernels.matmul(a, b) == 300).all()  # (-1)(-1) 300 times


def test_views_are_copied_and_read_only_arrays_taken(path: str) -> None:
    a, b = words(5, 30, 20), words(6, 40, 30)
    a.flags.writeable = b.flags.writeable = False
    expected = np.matmul(a.T.copy(), b.T.copy())
    np.testing.assert_array_equal(kernels.matmul(a.T, b.T), expected)
    np.testing.assert_array_equal(kernels.matmul(a.T, kernels.pack(b.T)), expected)


def test_calls_from_several_threads(path: str) -> None:
    kernels.set_threads(2)
    a, b = words(7, 64, 384), words(8, 384, 96)
    expected, results = np.matmul(a, b), [None] * 8

    def run(i: int) -> None:
        results[i] = kernels.matmul(a, b)

    workers = [threading.Thread(target=run, args=(i,)) for i in range(len(results))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for result in results:
        np.testing.assert_array_equal(result, expected)


U = np.zeros((3, 4), np.uint64)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (U, U, "inner axes"),
        (U, U[0], "two or more axes"),
        (np.zeros((2, 3, 4), np.uint64), np.zeros((3, 4, 5), np.uint64), "batch axes"),
        (U.astype(np.int64), U.T, "a must be uint64, not int64"),
        (U, U.T.astype(np.float32), "b must be uint64, not float32"),
        (U, U.T.astype(">u8"), "b must be uint64"),
        ([[1]], U, "must be a NumPy array, not list"),
    ],
)
def test_wrong_arguments(path: str, a: np.ndarray, b: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kernels.matmul(a, b)


def test_wrong_packed_arguments(path: str) -> None:
    with pytest.raises(ValueError, match=r"matrix \(k, n\)"):
        kernels.pack(U[0])
    packed = kernels.pack(U)
    assert packed.shape == (3, 4)
    with pytest.raises(ValueError, match="cannot be multiplied"):
        kernels.matmul(U, packed)
    others = [p for p in kernels.available() if p != path]
    if others:
        kernels.use(others[0])
        with pytest.raises(ValueError, match="packed for path"):
            kernels.matmul(U.T.copy(), packed)


def test_the_reference_is_numpy() -> None:
    a, b = words(9, 4, 5), words(10, 5, 6)
    np.testing.assert_array_equal(reference.matmul(a, b), a @ b)
