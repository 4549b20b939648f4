"""Functions in segments: against a walk down the tree in plain integers, on every path."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from veilform import kernels
from veilform.kernels import Segments, reference

MAX = 2**64 - 1


def segments(rng: np.random.Generator, first: int, last: int, fine: int, grid: int) -> Segments:
    octaves = last.bit_length() - first.bit_length() + 1
    rows = rng.integers(0, MAX, (octaves << grid, 2), np.uint64, endpoint=True)
    return Segments(first, last, fine, grid, rows)


def expected(of: Segments, n: int, y: int, alpha: int, rho: int) -> list[int]:
    """The first node above alpha that is outside, or inside and short: its row."""
    size = 1 << n
    for level in range(1, n + 1):
        length = 1 << (n - level)
        points = range((alpha // length) * length, (alpha // length + 1) * length)
        ends = [(y - points[-1]) % size, (y - points[0]) % size]
        indices = {(y - j) % size for j in points} if length < 64 else None
        if indices is None:
            whole = ends[0] <= ends[1]
            within = whole and of.first <= ends[0] and ends[1] <= of.last
            apart = (
                (ends[1] < of.first or ends[0] > of.last)
                if whole
                else (ends[0] > of.last and ends[1] < of.first)
            )
        else:
            within = ends[0] <= ends[1] and all(of.first <= i <= of.last for i in indices)
            apart = not any(of.first <= i <= of.last for i in indices)
        if apart:
            return [0, 0, 0, 1]
        if within and length << of.fine <= ends[0]:
            start = ends[0]
            octave = start.bit_length() - of.first.bit_length()
            below = (start >> (start.bit_length() - 1 - of.grid)) - (1 << of.grid)
            intercept, slope = (int(v) for v in of.rows[(octave << of.grid) + below])
            return [intercept, slope, slope * rho % 2**64, 0]
    raise AssertionError("no node serves the index")


def shares(of: Segments, n: int, y: np.ndarray, alpha: np.ndarray, rho: np.ndarray, rng) -> Any:
    seeds = [rng.integers(0, 256, (len(y), 16), np.uint8) for _ in range(2)]
    payload = np.stack([np.ones(len(y), np.uint64), rho], axis=1)
    keys = kernels.dpf_generate(*seeds, alpha, payload, n, n)
    return seeds, keys, [kernels.dpf_segments(p, seeds[p], *keys, n, y, of) for p in (0, 1)]


@pytest.mark.parametrize(
    ("n", "first", "last", "fine", "grid"),
    [(4, 4, 11, 1, 2), (5, 8, 30, 2, 3), (6, 2, 63, 1, 0), (5, 31, 31, 3, 4), (3, 1, 1, 0, 0)],
)
def test_every_point_and_every_shift(path: str, n, first, last, fine, grid) -> None:
    rng, size = np.random.default_rng(n), 1 << n
    of = segments(rng, first, last, fine, grid)
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
    n=st.integers(8, 40), fine=st.integers(0, 6), grid=st.integers(0, 8),
    span=st.floats(0, 1), start=st.floats(0, 1), seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_large_domains_on_every_path(path: str, n, fine, grid, span, start, seed: int) -> None:
    rng = np.random.default_rng(seed)
    lowest = max(fine, grid)
    if lowest >= n:
        return
    first = min(int(2 ** (lowest + start * (n - lowest))), 2**n - 1)
    last = min(int(first * 2 ** (span * 12)), 2**n - 1)
    of = segments(rng, first, last, fine, grid)
    inside = rng.integers(first, last, 20, np.uint64, endpoint=True)
    border = np.array([first, last, (first - 1) % 2**n, (last + 1) % 2**n], np.uint64)
    index = np.concatenate([inside, border, rng.integers(0, 2**n, 8, np.uint64)])
    alpha = rng.integers(0, 2**n, len(index), np.uint64)
    y = (index + alpha) & np.uint64(2**n - 1)
    rho = rng.integers(0, MAX, len(y), np.uint64, endpoint=True)
    seeds, keys, (one, two) = shares(of, n, y, alpha, rho, rng)
    for party, got in enumerate((one, two)):
        again = reference.dpf_segments(party, seeds[party], *keys, n, y, of)
        np.testing.assert_array_equal(got, again, "a path differs from the reference")
    for k, got in enumerate((one + two).tolist()):
        wanted = expected(of, n, int(y[k]), int(alpha[k]), int(rho[k]))
        assert got == wanted, f"index {index[k]} of {first} .. {last}, n = {n}"


def test_value_words_at_some_levels_are_those_at_all(path: str) -> None:
    rng = np.random.default_rng(5)
    seeds = [rng.integers(0, 256, (9, 16), np.uint8) for _ in range(2)]
    alpha = rng.integers(0, 2**7, 9, np.uint64)
    payload = rng.integers(0, MAX, (9, 2), np.uint64)
    all_levels = kernels.dpf_generate(*seeds, alpha, payload, 7, 7)
    for levels in (1, 3, 7):
        made = kernels.dpf_generate(*seeds, alpha, payload, 7, levels)
        again = reference.dpf_generate(*seeds, alpha, payload, 7, levels)
        for ours, theirs in zip(made, again, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(made[2], all_levels[2][:, 7 - levels :])


OF = segments(np.random.default_rng(1), 8, 12, 2, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"party": 2}, "party must be 0 or 1"),
        ({"n": 41}, "1 to 40 bits"),
        ({"y": np.full(3, 16, np.uint64)}, "y must lie below 2\\^4"),
        ({"words": np.zeros((3, 1, 2), np.uint64)}, "words has shape"),
        ({"segments": OF._replace(last=16)}, "segments do not fit"),
        ({"segments": OF._replace(first=7)}, "segments do not fit"),
        ({"segments": OF._replace(fine=4)}, "segments do not fit"),
        ({"segments": OF._replace(rows=OF.rows[:4])}, "segments do not fit"),
        ({"segments": OF._replace(first=12, last=9)}, "segments do not fit"),
    ],
)
def test_wrong_segments(path: str, change: dict[str, Any], message: str) -> None:
    rng = np.random.default_rng(2)
    y = np.array([1, 2, 3], np.uint64)
    seeds, keys, _ = shares(OF, 4, y, y, y, rng)
    args = dict(zip(("cw_seeds", "cw_bits", "words"), keys, strict=True))
    args |= {"party": 0, "seeds": seeds[0], "n": 4, "y": y, "segments": OF}
    with pytest.raises(ValueError, match=message):
        kernels.dpf_segments(**(args | change))
