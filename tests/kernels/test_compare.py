"""Comparison functions: every number at every point, and the reference on every path."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from veilform import kernels
from veilform.kernels import _compare as reference

NO_FIXTURES = [HealthCheck.function_scoped_fixture]


def made(rng: np.random.Generator, alpha: np.ndarray, n: int) -> tuple[list[np.ndarray], Any]:
    seeds = [rng.integers(0, 256, (alpha.size, 16), np.uint8) for _ in range(2)]
    return seeds, kernels.compare_generate(*seeds, alpha, n)


def shares(seeds: list[np.ndarray], keys: Any, n: int, points: np.ndarray) -> list[np.ndarray]:
    return [kernels.compare_evaluate(p, seeds[p], *keys, n, points) for p in (0, 1)]


@pytest.mark.parametrize("n", [1, 2, 6, 7, 8, 9])
def test_every_number_at_every_point(path: str, n: int) -> None:
    alpha = np.arange(1 << n, dtype=np.uint64)
    seeds, keys = made(np.random.default_rng(n), alpha, n)
    points = np.broadcast_to(alpha[:, None], (1 << n, 1 << n))
    one, two = shares(seeds, keys, n, points)
    assert max(one.max(), two.max()) <= 1, "a share is a bit"
    np.testing.assert_array_equal(one ^ two, points < alpha)


@settings(max_examples=30, deadline=None, suppress_health_check=NO_FIXTURES)
@given(
    n=st.integers(1, 64), count=st.integers(1, 70), rows=st.integers(0, 3),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_large_domains_on_every_path(path: str, n: int, count: int, rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    top = 2**n - 1
    alpha = rng.integers(0, top, count, np.uint64, endpoint=True)
    alpha[: count // 8] = rng.choice(np.array([0, 1, top // 2, top], np.uint64), count // 8)
    points = rng.integers(0, top, (rows, count), np.uint64, endpoint=True)
    # Beside alpha, and where the paths part low in the tree.
    points[:, ::2] = (alpha + rng.integers(-2, 3, (rows, count)).astype(np.uint64))[:, ::2]
    points &= np.uint64(top)
    seeds, keys = made(rng, alpha, n)
    for got, wanted in zip(
        keys, reference.reference_compare_generate(*seeds, alpha, n), strict=True
    ):
        np.testing.assert_array_equal(got, wanted, "a path makes other keys than the reference")
    one, two = shares(seeds, keys, n, points)
    for party, got in enumerate((one, two)):
        again = reference.reference_compare_evaluate(party, seeds[party], *keys, n, points)
        np.testing.assert_array_equal(got, again, "a path differs from the reference")
    np.testing.assert_array_equal(one ^ two, points < alpha)


def test_many_keys_on_several_threads(path: str) -> None:
    rng, n = np.random.default_rng(3), 19
    count = 3_001 if path in ("avx2", "avx512") else 301
    alpha = rng.integers(0, 2**n, count, np.uint64)
    seeds, keys = made(rng, alpha, n)
    points = rng.integers(0, 2**n, (2, count), np.uint64)
    wanted = shares(seeds, keys, n, points)
    np.testing.assert_array_equal(wanted[0] ^ wanted[1], points < alpha)
    for threads in (1, 3):
        kernels.set_threads(threads)
        for got, before in zip(shares(seeds, keys, n, points), wanted, strict=True):
            np.testing.assert_array_equal(got, before, "threads change the result")


def test_a_key_is_the_tree_s_and_one_block() -> None:
    alpha = np.zeros(3, np.uint64)
    for n, levels in ((1, 0), (7, 0), (8, 1), (19, 12), (64, 57)):
        _, (blocks, right_bits) = made(np.random.default_rng(1), alpha, n)
        assert kernels.compare_levels(n) == levels
        assert blocks.shape == (3, levels + 1, 16)
        assert not (right_bits >> np.uint64(levels)).any(), "more control bits than levels"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"party": 2}, "party must be 0 or 1"),
        ({"n": 65}, "1 to 64 bits"),
        ({"n": 0}, "1 to 64 bits"),
        ({"n": 12}, "blocks has shape"),
        ({"points": np.full((1, 3), 2**11, np.uint64)}, "points must lie below 2\\^11"),
        ({"points": np.zeros(3, np.uint64)}, "points has shape"),
        ({"points": np.zeros((1, 4), np.uint64)}, "seeds has shape"),
        ({"right_bits": np.zeros(2, np.uint64)}, "right_bits has shape"),
        ({"blocks": np.zeros((3, 5, 16), np.int8)}, "blocks must be uint8"),
    ],
)
def test_wrong_arguments(path: str, change: dict[str, Any], message: str) -> None:
    seeds, (blocks, right_bits) = made(np.random.default_rng(2), np.arange(3, dtype=np.uint64), 11)
    args = {"party": 0, "seeds": seeds[0], "blocks": blocks, "right_bits": right_bits, "n": 11}
    args |= {"points": np.zeros((1, 3), np.uint64)}
    with pytest.raises(ValueError, match=message):
        kernels.compare_evaluate(**(args | change))


def test_a_number_outside_the_domain(path: str) -> None:
    with pytest.raises(ValueError, match="alpha must lie below"):
        made(np.random.default_rng(4), np.array([1, 16], np.uint64), 4)
