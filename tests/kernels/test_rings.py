"""The product in smaller rings, by small signed weights, and added to what is there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from veilform import kernels
from veilform.kernels import reference

MAX = 2**64 - 1
BITS = [1, 8, 31, 32, 40, 48, 51, 52, 53, 56, 63, 64]

# Sizes around the register tiles (4, 8, 16), and the blocks of A (128 x 512) and of B (128).
sizes = st.one_of(st.integers(0, 34), st.sampled_from([63, 64, 65, 127, 128, 129, 255, 513]))
bits_of_weights = st.sampled_from([1, 2, 7, 8, 9, 15, 16, 17, 18, 24, 25, 32, 33, 64])
common = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def words(seed: int, *shape: int) -> np.ndarray:
    """Uniform words, a third of them 0 or 2^64 - 1."""
    rng = np.random.default_rng(seed)
    out = rng.integers(0, MAX, shape, np.uint64, endpoint=True)
    return np.where(rng.random(shape) < 1 / 3, rng.choice(np.array([0, MAX], np.uint64)), out)


def weights(seed: int, size: int, *shape: int) -> np.ndarray:
    """Signed weights of ``size`` bits, a third of them at either end of the range."""
    rng = np.random.default_rng(seed)
    low, high = -(2 ** (size - 1)), 2 ** (size - 1) - 1
    out = rng.integers(low, high, shape, np.int64, endpoint=True)
    ends = rng.choice(np.array([low, high]), shape)
    return np.where(rng.random(shape) < 1 / 3, ends, out)


def exact(a: np.ndarray, b: np.ndarray, bits: int) -> np.ndarray:
    """The product of integers of any size, reduced at the end."""
    whole = np.matmul(a.astype(object), b.astype(object))
    return np.array(whole % 2**bits, object).astype(np.uint64).reshape(whole.shape)


@common
@given(
    m=sizes, k=sizes, n=sizes, size=bits_of_weights, bits=st.sampled_from(BITS),
    seed=st.integers(0, 2**32 - 1), threads=st.integers(1, 3), accumulate=st.booleans(),
)  # fmt: skip
def test_every_operand_in_every_ring(
    path: str, m: int, k: int, n: int, size: int, bits: int, seed: int, threads: int,
    accumulate: bool,
) -> None:  # fmt: skip
    kernels.set_threads(threads)
    a, b, w = words(seed, m, k), words(seed + 1, k, n), weights(seed + 2, size, k, n)
    base = words(seed + 3, m, n)
    for right, operand in ((b, b), (b, kernels.pack(b)), (w, kernels.pack(w))):
        expected = reference.matmul(a, right, bits, base if accumulate else np.uint64(0))
        out = base.copy()
        result = kernels.matmul(a, operand, bits, out=out, accumulate=accumulate)
        assert result is out
        np.testing.assert_array_equal(result, expected)
        if not accumulate:
            np.testing.assert_array_equal(kernels.matmul(a, operand, bits), expected)


@pytest.mark.parametrize("bits", BITS)
def test_against_integers_of_any_size(path: str, bits: int) -> None:
    a, b, w = words(1, 5, 37), words(2, 37, 19), weights(3, 18, 37, 19)
    np.testing.assert_array_equal(kernels.matmul(a, b, bits), exact(a, b, bits))
    np.testing.assert_array_equal(kernels.matmul(a, kernels.pack(w), bits), exact(a, w, bits))


@pytest.mark.parametrize("size", [1, 8, 9, 16, 17, 24, 25, 32, 33])
@pytest.mark.parametrize("bits", [40, 52, 64])
def test_the_largest_sums(path: str, size: int, bits: int) -> None:
    k = 16385  # longer than any block, and odd
    a = np.full((9, k), MAX, np.uint64)
    w = np.empty((k, 17), np.int64)
    w[:, ::2], w[:, 1::2] = -(2 ** (size - 1)), 2 ** (size - 1) - 1
    expected = np.broadcast_to([-k * int(x) % 2**bits for x in w[0]], (9, 17))
    np.testing.assert_array_equal(kernels.matmul(a, kernels.pack(w, bits)), expected)
    plain = w.astype(np.uint64)
    np.testing.assert_array_equal(kernels.matmul(a, plain, bits), expected)
    np.testing.assert_array_equal(kernels.matmul(a, kernels.pack(plain, bits)), expected)


@pytest.mark.parametrize("bits", [48, 64])
def test_batches(path: str, bits: int) -> None:
    kernels.set_threads(2)
    a, b = words(4, 12, 40, 64), words(5, 12, 64, 33)
    out = words(6, 12, 40, 33)
    expected = reference.matmul(a, b, bits, out)
    np.testing.assert_array_equal(kernels.matmul(a, b, bits), reference.matmul(a, b, bits))
    np.testing.assert_array_equal(kernels.matmul(a, b, bits, out=out, accumulate=True), expected)


@pytest.mark.parametrize(
    ("dtype", "largest", "width"),
    [
        (np.int8, 127, 1),
        (np.int32, 127, 1),
        (np.int16, 128, 2),
        (np.int32, 2**15 - 1, 2),
        (np.int32, 2**15, 3),
        (np.int64, 2**23 - 1, 3),
        (np.int32, 2**23, 4),
        (np.int64, 2**31 - 1, 4),
        (np.int64, 2**31, 8),
        (np.uint64, 1, 8),  # words may be secret: their sizes are not looked at
    ],
)
def test_a_weight_takes_the_bytes_it_needs(
    path: str, dtype: type, largest: int, width: int
) -> None:
    for value in (largest, -largest - 1)[: 1 if dtype is np.uint64 else 2]:
        b = np.zeros((768, 64), dtype)
        b[3, 5] = value
        packed = kernels.pack(b)
        assert packed.width == width
        if path != "reference":
            assert packed.nbytes == 768 * 64 * width
        a = words(7, 2, 768)
        np.testing.assert_array_equal(kernels.matmul(a, packed), reference.matmul(a, b))


def test_a_packed_matrix_knows_its_ring(path: str) -> None:
    a, w = words(8, 3, 20), weights(9, 16, 20, 5)
    packed = kernels.pack(w, bits=48)
    assert (packed.bits, packed.shape) == (48, (20, 5))
    np.testing.assert_array_equal(kernels.matmul(a, packed), reference.matmul(a, w, 48))
    np.testing.assert_array_equal(kernels.matmul(a, packed, 40), reference.matmul(a, w, 40))
    with pytest.raises(ValueError, match="packed for a ring of 48 bits, not 49"):
        kernels.matmul(a, packed, 49)


A, B = np.zeros((3, 4), np.uint64), np.zeros((4, 5), np.uint64)
READ_ONLY = np.zeros((3, 5), np.uint64)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bits": 0}, "1 to 64 bits, not 0"),
        ({"bits": 65}, "1 to 64 bits, not 65"),
        ({"accumulate": True}, "needs out"),
        ({"out": np.zeros((3, 5))}, "out must be uint64"),
        ({"out": np.zeros((3, 4), np.uint64)}, r"out has shape \(3, 4\), expected \(3, 5\)"),
        ({"out": np.zeros((5, 3), np.uint64).T}, "C-contiguous and writable"),
        ({"out": READ_ONLY}, "C-contiguous and writable"),
    ],
)
def test_wrong_arguments(path: str, arguments: dict[str, object], message: str) -> None:
    for operand in (B, kernels.pack(B), kernels.pack(B.astype(np.int32))):
        with pytest.raises(ValueError, match=message):
            kernels.matmul(A, operand, **arguments)


@pytest.mark.parametrize("dtype", [np.uint32, np.float64, ">i4", bool])
def test_wrong_weights(path: str, dtype: object) -> None:
    with pytest.raises(ValueError, match="must be uint64 or signed integers"):
        kernels.pack(np.zeros((3, 4), dtype))


def test_wrong_rings_of_packed_matrices(path: str) -> None:
    with pytest.raises(ValueError, match="1 to 64 bits, not 65"):
        kernels.pack(B, bits=65)
