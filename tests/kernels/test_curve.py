"""Curves by equal segments of a window: every point and shift, and the reference on every path."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from veilform import kernels
from veilform.kernels import Curve, reference

MAX = 2**64 - 1


def curve(rng: np.random.Generator, first: int, last: int, cap: int, wrap: int) -> Curve:
    rows = rng.integers(0, MAX, (last - first + 3, 2), np.uint64, endpoint=True)
    return Curve(first, last, cap, wrap, rows)


def expected(of: Curve, n: int, y: int, alpha: int, rho: int) -> list[int]:
    """The row of the first node above alpha that one row serves, by a walk in plain integers."""
    size = 1 << n
    for level in range(1, n + 1):
        length = 1 << (n - level)
        start = (y - (alpha // length + 1) * length + 1) % size
        end = start + length - 1
        if end >= size:
            continue
        if end < of.first:
            row = 0
        elif start > of.last:
            row = -1
        elif of.first <= start and end <= of.last and length <= 1 << of.cap:
            row = start - of.first + 1
        else:
            continue
        intercept, slope = (int(v) for v in of.rows[row])
        intercept += slope * of.wrap if (y - alpha) % size > y else 0
        return [intercept % 2**64, slope, slope * rho % 2**64]
    raise AssertionError("no node serves the index")


def shares(of: Curve, n: int, y: np.ndarray, alpha: np.ndarray, rho: np.ndarray, rng) -> Any:
    seeds = [rng.integers(0, 256, (len(y), 16), np.uint8) for _ in range(2)]
    payload = np.stack([np.ones(len(y), np.uint64), rho], axis=1)
    keys = kernels.dpf_generate(*seeds, alpha, payload, n, n)
    return seeds, keys, [kernels.dpf_curve(p, seeds[p], *keys, n, y, of) for p in (0, 1)]


@pytest.mark.parametrize(
    ("n", "first", "last", "cap"),
    [(2, 1, 2, 0), (4, 5, 11, 1), (5, 1, 30, 2), (5, 16, 16, 3), (6, 20, 43, 3)],
)
def test_every_point_and_every_shift(path: str, n: int, first: int, last: int, cap: int) -> None:
    rng, size = np.random.default_rng(n), 1 << n
    of = curve(rng, first, last, cap, 1 << 40)
    alpha, y = (x.ravel().astype(np.uint64) for x in np.indices((size, size)))
    rho = rng.integers(0, MAX, len(y), np.uint64, endpoint=True)
    _, _, (one, two) = shares(of, n, y, alpha, rho, rng)
    for k, got in enumerate((one + two).tolist()):
        wanted = expected(of, n, int(y[k]), int(alpha[k]), int(rho[k]))
        assert got == wanted, f"index {(int(y[k]) - int(alpha[k])) % size} under y = {y[k]}"


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    n=st.integers(8, 40), cap=st.integers(0, 5), window=st.integers(1, 200),
    where=st.floats(0, 1), wrap=st.integers(0, MAX), seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_large_domains_on_every_path(path: str, n, cap, window, where, wrap, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first = 1 + int(where * (2**n - 2 - window))
    last = first + window - 1
    of = curve(rng, first, last, cap, wrap)
    inside = rng.integers(first, last, 20, np.uint64, endpoint=True)
    border = np.array([first, last, first - 1, last + 1, 0, 2**n - 1], np.uint64)
    index = np.concatenate([inside, border, rng.integers(0, 2**n, 8, np.uint64)])
    alpha = rng.integers(0, 2**n, len(index), np.uint64)
    y = (index + alpha) & np.uint64(2**n - 1)
    rho = rng.integers(0, MAX, len(y), np.uint64, endpoint=True)
    seeds, keys, (one, two) = shares(of, n, y, alpha, rho, rng)
    for party, got in enumerate((one, two)):
        again = reference.dpf_curve(party, seeds[party], *keys, n, y, of)
        np.testing.assert_array_equal(got, again, "a path differs from the reference")
    for k, got in enumerate((one + two).tolist()):
        wanted = expected(of, n, int(y[k]), int(alpha[k]), int(rho[k]))
        assert got == wanted, f"index {index[k]} of {first} .. {last}, n = {n}"


OF = curve(np.random.default_rng(1), 5, 9, 1, 16)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"party": 2}, "party must be 0 or 1"),
        ({"n": 41}, "1 to 40 bits"),
        ({"y": np.full(3, 16, np.uint64)}, "y must lie below 2\\^4"),
        ({"words": np.zeros((3, 1, 2), np.uint64)}, "words has shape"),
        ({"curve": OF._replace(last=15)}, "does not fit"),
        ({"curve": OF._replace(first=0)}, "does not fit"),
        ({"curve": OF._replace(cap=13)}, "does not fit"),
        ({"curve": OF._replace(rows=OF.rows[:5])}, "does not fit"),
        ({"curve": OF._replace(first=9, last=5)}, "does not fit"),
    ],
)
def test_wrong_curves(path: str, change: dict[str, Any], message: str) -> None:
    rng = np.random.default_rng(2)
    y = np.array([1, 2, 3], np.uint64)
    seeds, keys, _ = shares(OF, 4, y, y, y, rng)
    args = dict(zip(("cw_seeds", "cw_bits", "words"), keys, strict=True))
    args |= {"party": 0, "seeds": seeds[0], "n": 4, "y": y, "curve": OF}
    with pytest.raises(ValueError, match=message):
        kernels.dpf_curve(**(args | change))
