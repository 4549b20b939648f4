"""Point functions: keys, look-ups in tables, and functions given in segments."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from veilform.kernels import _check, reference
from veilform.kernels._check import U8, U64
from veilform.kernels._dispatch import selected


def dpf_generate(
    seeds0: U8, seeds1: U8, alpha: U64, payload: U64, n: int, levels: int = 1
) -> tuple[U8, U8, U64]:
    """Correction words for K point functions: payload at alpha, (0, 0) elsewhere.

    Boyle, Gilboa, Ishai (CCS 2016), figure 1, on a domain of n bits (1..40) with values in
    Z_2^64 x Z_2^64. Party b's key is its seed and these words. The generator is
    child(s) = AES_k(s) xor s (Matyas-Meyer-Oseas) under the fixed public keys k = the first 16
    bytes of SHA-256 of "veilform dpf left", "... right" and "... convert". A node's control bit
    is the lowest bit of byte 0, cleared in its seed; the roots' control bits are 0 and 1.
    Neither branches nor addresses depend on alpha, the seeds or the payload.

    The lowest ``levels`` levels of the tree have values: at each, the node above alpha has the
    payload, the others 0 (an incremental point function: Boneh et al., Lightweight techniques for
    private heavy hitters, S&P 2021).

    Args are seeds0, seeds1 (K, 16) uint8, fresh and uniform; alpha (K,) below 2^n; payload (K, 2).

    Returns:
        cw_seeds (K, n, 16) uint8, cw_bits (K, n) uint8 (bit 0 left, bit 1 right), and a value word
        for each level that has one, words (K, levels, 2).

    Raises:
        ValueError: wrong dtypes, shapes, n or levels, or an alpha outside the domain.
    """
    _check.domain(n, _check.MOST_TREE_BITS)
    if not 1 <= levels <= n:
        raise ValueError(f"a tree of {n} levels cannot have values at {levels}")
    alpha = _check.words("alpha", alpha)
    count = alpha.size
    _check.shape("alpha", alpha, (count,))
    seeds0, seeds1 = (
        _check.words("seeds0", seeds0, np.uint8),
        _check.words("seeds1", seeds1, np.uint8),
    )
    _check.shape("seeds0", seeds0, (count, 16))
    _check.shape("seeds1", seeds1, (count, 16))
    payload = _check.like("payload", payload, (count, 2))
    if bool(np.bitwise_or.reduce(alpha, initial=0) >> np.uint64(n)):
        raise ValueError(f"alpha must lie below 2^{n}")
    at = selected()
    if at.dpf is None:
        return reference.dpf_generate(seeds0, seeds1, alpha, payload, n, levels)
    cw_seeds, cw_bits = np.empty((count, n, 16), np.uint8), np.empty((count, n), np.uint8)
    words = np.empty((count, levels, 2), np.uint64)
    keys = b"".join(reference.fixed_keys())
    at.dpf.dpf_generate(
        at.code, at.threads, keys, seeds0, seeds1, alpha, payload, n, cw_seeds, cw_bits, words
    )
    return cw_seeds, cw_bits, words


def _key_parts(
    seeds: U8, cw_seeds: U8, cw_bits: U8, words: U64, shape: tuple[int, int, int]
) -> tuple[U8, U8, U8, U64]:
    """The arrays of keys, checked; ``shape`` is their count, bits, and value words."""
    count, n, levels = shape
    seeds, cw_seeds, cw_bits = (
        _check.words(name, array, np.uint8)
        for name, array in (("seeds", seeds), ("cw_seeds", cw_seeds), ("cw_bits", cw_bits))
    )
    _check.shape("seeds", seeds, (count, 16))
    _check.shape("cw_seeds", cw_seeds, (count, n, 16))
    _check.shape("cw_bits", cw_bits, (count, n))
    return seeds, cw_seeds, cw_bits, _check.like("words", words, (count, levels, 2))


def dpf_lookup(
    party: int, seeds: U8, cw_seeds: U8, cw_bits: U8, words: U64, n: int, y: U64, table: U64
) -> U64:
    """One party's shares (K, T, 2) of payload_k[w] table[(y_k - alpha_k) mod 2^n, c].

    For keys of ``levels`` 1. out[k, c, w] = sum over i of v_i[w] table[(y_k - i) mod 2^n, c],
    where v_i = (-1)^party (convert(s_i) + t_i words) is this party's share of the function at i.
    ``y`` (K,) and ``table`` (2^n, T) are public.

    Raises:
        ValueError: wrong dtypes, shapes, n or party, or a y outside the domain.
    """
    _check.domain(n, _check.MOST_TABLE_BITS)
    _check.party(party)
    y, table = _check.words("y", y), _check.words("table", table)
    count, size = y.size, 1 << n
    _check.shape("y", y, (count,))
    parts = _key_parts(seeds, cw_seeds, cw_bits, words, (count, n, 1))
    if table.ndim != 2 or table.shape[0] != size:
        raise ValueError(f"table has shape {table.shape}, expected ({size}, columns)")
    if bool((y >= size).any()):
        raise ValueError(f"y must lie below 2^{n}")
    at = selected()
    if at.dpf is None:
        return reference.dpf_lookup(party, *parts, n, y, table)
    out = np.empty((count, table.shape[1], 2), np.uint64)
    seeds, cw_seeds, cw_bits, words = parts
    at.dpf.dpf_lookup(
        at.code, at.threads, b"".join(reference.fixed_keys()), party, seeds, cw_seeds, cw_bits,
        words.reshape(count, 2), n, y, table, out,
    )  # fmt: skip
    return out


def _walked(
    party: int, seeds: U8, cw_seeds: U8, cw_bits: U8, words: U64, n: int, y: U64
) -> tuple[U64, tuple[U8, U8, U8, U64]]:
    """y, and the keys of trees with values at all n levels, checked."""
    _check.domain(n, _check.MOST_TREE_BITS)
    _check.party(party)
    y = _check.words("y", y)
    _check.shape("y", y, (y.size,))
    parts = _key_parts(seeds, cw_seeds, cw_bits, words, (y.size, n, n))
    if bool((y >> np.uint64(n)).any()):
        raise ValueError(f"y must lie below 2^{n}")
    return y, parts


class Segments(NamedTuple):
    """A function of an index i: lines by segments in the range first .. last, outside beyond it.

    A segment of 2^b indices from i on has one line if 2^fine 2^b <= i: relative to i, all segments
    are short. Row r is for segments that start at (2^grid + k) 2^(e - grid) or above, below the
    next row's start, with r = (e - floor(log2(first))) 2^grid + k.

    Attributes:
        first, last: the range; at least 2^max(fine, grid).
        fine: at most 12.
        grid: 2^grid rows an octave; at most 13.
        rows: (octaves 2^grid, 2) intercepts and slopes, from the octave of first to that of last.
    """

    first: int
    last: int
    fine: int
    grid: int
    rows: U64


def dpf_segments(
    party: int, seeds: U8, cw_seeds: U8, cw_bits: U8, words: U64, n: int, y: U64,
    segments: Segments,
) -> U64:  # fmt: skip
    """One party's shares (K, 4) of a function given in segments at i_k = (y_k - alpha_k) mod 2^n.

    For keys of ``levels`` n with payload (1, rho): intercept, slope, slope rho, and 1 if i
    is outside the range (the others are 0 then). The work depends on y, which is public,
    and grows with 2^fine times the octaves of the range.

    Raises:
        ValueError: wrong dtypes, shapes, n or party, a y outside the domain, or segments that do
            not fit.
    """
    y, parts = _walked(party, seeds, cw_seeds, cw_bits, words, n, y)
    first, last, fine, grid, rows = segments
    rows = _check.words("rows", rows)
    octaves = last.bit_length() - first.bit_length() + 1
    fits = 0 <= fine <= 12 and 0 <= grid <= 13 and first <= last < 1 << n
    if not fits or first >> max(fine, grid) < 1 or rows.shape != (octaves << grid, 2):
        raise ValueError("the segments do not fit their range, or the domain")
    at = selected()
    if at.dpf is None:
        return reference.dpf_segments(party, *parts, n, y, segments)
    out = np.empty((y.size, 4), np.uint64)
    at.dpf.dpf_segments(
        at.code, at.threads, b"".join(reference.fixed_keys()), party, *parts, n, y,
        first, last, fine, grid, rows, out,
    )  # fmt: skip
    return out


class Curve(NamedTuple):
    """A function of an index i: lines by equal segments in the window first .. last, one beside it.

    A segment of 2^b indices from i on, b <= cap, has row i - first + 1. Row 0 is for i < first, and
    the last row for i > last.

    Attributes:
        first, last: the window; 1 <= first <= last <= 2^n - 2.
        cap: at most 12.
        wrap: times the slope, is added to the intercept where i > y: 2^w if what is behind the
            index was opened modulo 2^w, so that slope (y' - rho) becomes slope (y' - rho + 2^w).
        rows: (last - first + 3, 2) intercepts and slopes.
    """

    first: int
    last: int
    cap: int
    wrap: int
    rows: U64


def dpf_curve(
    party: int, seeds: U8, cw_seeds: U8, cw_bits: U8, words: U64, n: int, y: U64, curve: Curve
) -> U64:
    """One party's shares (K, 3) of a curve at i_k = (y_k - alpha_k) mod 2^n.

    For keys of ``levels`` n with payload (1, rho): intercept, slope, slope rho. The work depends on
    y, which is public, and grows with the window's length over 2^cap.

    Raises:
        ValueError: wrong dtypes, shapes, n or party, a y outside the domain, or a window that does
            not fit.
    """
    y, parts = _walked(party, seeds, cw_seeds, cw_bits, words, n, y)
    first, last, cap, wrap, rows = curve
    rows, wrap = _check.words("rows", rows), wrap % 2**64
    fits = 0 <= cap <= 12 and 1 <= first <= last < (1 << n) - 1
    if not fits or rows.shape != (last - first + 3, 2):
        raise ValueError("the curve's window does not fit its rows, or the domain")
    at = selected()
    if at.dpf is None:
        return reference.dpf_curve(party, *parts, n, y, Curve(first, last, cap, wrap, rows))
    out = np.empty((y.size, 3), np.uint64)
    at.dpf.dpf_curve(
        at.code, at.threads, b"".join(reference.fixed_keys()), party, *parts, n, y,
        first, last, cap, wrap, rows, out,
    )  # fmt: skip
    return out
