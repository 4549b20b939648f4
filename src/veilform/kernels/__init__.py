"""Integer kernels modulo 2^64: matrix product, opened bilinear forms, point-function lookup.

Each function exists as compiled C++ for several instruction sets and as NumPy (`reference`); all
of them return the same bits. The best path that this CPU offers is chosen at import. The
environment may force another with ``VEILFORM_KERNELS=reference|portable|avx2|avx512``, and bound
the threads with ``VEILFORM_THREADS``.

Arrays are ``numpy.uint64`` unless stated otherwise. A strided view is copied first. A wrong dtype
or shape raises ValueError. The compiled kernels release the interpreter lock.

An *opened* value x of k = bits - t bits is known to both parties as y = y' 2^t, where
y' = x + 2^(k-2) + rho mod 2^k is its opening under a mask rho of k bits. It is lifted to ``bits``
bits: with

    p = y' - 2^(k-2),  g = (1 - msb(y')) 2^k,  q = rho,  h = msb(rho)

x = p - q + g h modulo 2^bits, exactly, if |x| <= 2^(k-2). For t = 0 it was opened in its own ring:
there is no offset, and p = y, g = 0. The parties hold shares of q, h and of their products, and
``lead`` is true on exactly one side.
Words that are multiplied by g matter only modulo 2^t, so they may be uint16, uint32 or uint64;
None stands for a term that is zero.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from veilform.kernels import _check, reference
from veilform.kernels._check import MOST_TREE_BITS, U8, U64
from veilform.kernels._dispatch import available, info, selected, set_threads, threads, use
from veilform.kernels._matmul import PackedMatrix, matmul, pack

__all__ = [
    "MOST_TREE_BITS",
    "PackedMatrix",
    "Segments",
    "available",
    "centre",
    "dpf_generate",
    "dpf_lookup",
    "dpf_segments",
    "info",
    "matmul",
    "mix",
    "opened_product",
    "opened_share",
    "opened_square",
    "pack",
    "set_threads",
    "threads",
    "use",
]


def _like(name: str, array: Any, expected: tuple[int, ...]) -> U64:
    array = _check.words(name, array)
    _check.shape(name, array, expected)
    return array


def _narrow_like(name: str, array: Any, expected: tuple[int, ...]) -> Any:
    if array is None:
        return None
    array = _check.narrow(name, array)
    _check.shape(name, array, expected)
    return array


def mix(
    a: U64, b: U64 | None = None, *, negate_a: bool = False, negate_b: bool = False, plus: int = 0,
    bits: int = 64, right: int = 0, then: int = 0, left: int = 0,
) -> U64:  # fmt: skip
    """((((a + b + plus) mod 2^bits) >> right) + then) << left  mod 2^64, in one pass.

    b has a's shape, or is left out; either may be negated.

    Raises:
        ValueError: wrong dtypes or shapes, or a shift outside 0 .. 63.
    """
    a = _check.words("a", a)
    b = None if b is None else _like("b", b, a.shape)
    _check.modulus(bits)
    if not (0 <= right < 64 and 0 <= left < 64):
        raise ValueError(f"shifts by {right} and {left}, but a word has 64 bits")
    plus, then = plus % 2**64, then % 2**64
    at = selected()
    if at.native is None:
        return reference.mix(a, b, negate_a, negate_b, plus, bits, right, then, left)
    out = np.empty_like(a)
    at.native.mix(at.code, at.threads, out, a, b, negate_a, negate_b, plus, bits, right, then, left)
    return out


def centre(x: U64) -> U64:
    """d x - sum(x) over the last axis, of length d, mod 2^64.

    Raises:
        ValueError: a wrong dtype, or no axis.
    """
    x = _check.words("x", x)
    if not x.ndim or not x.size:
        raise ValueError(f"rows are centred, not an array of shape {x.shape}")
    at = selected()
    if at.native is None:
        return reference.centre(x)
    out = np.empty_like(x)
    d = x.shape[-1]
    at.native.centre(at.code, at.threads, out.reshape(-1, d), x.reshape(-1, d))
    return out


def opened_share(y: U64, t: int, bits: int, lead: bool, q: U64, h: Any) -> U64:
    """A share of x, of y's shape:  lead p - q + g h  mod 2^bits.

    Args are as in the module's text: y public, q and h this party's shares (h may be narrow, or
    None if t = 0). All shapes are equal.

    Raises:
        ValueError: wrong dtypes, shapes, t or bits.
    """
    y = _check.words("y", y)
    _check.ring(t, bits)
    q, h = _like("q", q, y.shape), _narrow_like("h", h, y.shape)
    at = selected()
    if at.native is None:
        return reference.opened_share(y, t, bits, lead, q, h)
    out = np.empty_like(y)
    at.native.opened_share(at.code, at.threads, out, y, t, bits, lead, q, h)
    return out


def opened_square(y: U64, t: int, bits: int, lead: bool, q: U64, h: Any, q2: U64, qh: Any) -> U64:
    """A share of x^2:  lead p^2 - 2 p (q - g h) + q2 - 2 g qh + g 2^(bits-t) h  mod 2^bits.

    q2 and qh are this party's shares of q^2 and q h. h and qh may be narrow or None.

    Raises:
        ValueError: wrong dtypes, shapes, t or bits.
    """
    y = _check.words("y", y)
    _check.ring(t, bits)
    q, q2 = _like("q", q, y.shape), _like("q2", q2, y.shape)
    h, qh = _narrow_like("h", h, y.shape), _narrow_like("qh", qh, y.shape)
    at = selected()
    if at.native is None:
        return reference.opened_square(y, t, bits, lead, q, h, q2, qh)
    out = np.empty_like(y)
    at.native.opened_square(at.code, at.threads, out, y, t, bits, lead, q, h, q2, qh)
    return out


def opened_product(
    ya: U64, ta: int, yb: U64, tb: int, bits: int, lead: bool,
    qa: U64, ha: Any, qb: U64, hb: Any, qaqb: U64, qahb: Any, haqb: Any, hahb: Any,
) -> U64:  # fmt: skip
    """A share of a b, elementwise, for two opened values, of a's shape, mod 2^bits.

        lead pa pb - pa (qb - gb hb) - pb (qa - ga ha) + qaqb - gb qahb - ga haqb + ga gb hahb

    The arrays of b alone (yb, qb, hb) have a's shape, or a last axis of 1, which is repeated. The
    four products have a's shape. ha, hb, qahb, haqb and hahb may be narrow or None.

    Raises:
        ValueError: wrong dtypes, shapes, t or bits.
    """
    ya, yb = _check.words("ya", ya), _check.words("yb", yb)
    _check.ring(ta, bits)
    _check.ring(tb, bits)
    _check.product_shapes(ya.shape, yb.shape)
    qa, ha = _like("qa", qa, ya.shape), _narrow_like("ha", ha, ya.shape)
    qb, hb = _like("qb", qb, yb.shape), _narrow_like("hb", hb, yb.shape)
    qaqb = _like("qaqb", qaqb, ya.shape)
    qahb, haqb = _narrow_like("qahb", qahb, ya.shape), _narrow_like("haqb", haqb, ya.shape)
    hahb = _narrow_like("hahb", hahb, ya.shape)
    at = selected()
    if at.native is None:
        return reference.opened_product(
            ya, ta, yb, tb, bits, lead, qa, ha, qb, hb, qaqb, qahb, haqb, hahb
        )
    out = np.empty_like(ya)
    repeat = ya.shape[-1] if yb.shape != ya.shape else 1
    at.native.opened_product(
        at.code, at.threads, out, repeat, ya, ta, yb, tb, bits, lead,
        qa, ha, qb, hb, qaqb, qahb, haqb, hahb,
    )  # fmt: skip
    return out


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
    payload = _like("payload", payload, (count, 2))
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
    return seeds, cw_seeds, cw_bits, _like("words", words, (count, levels, 2))


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
    _check.domain(n, _check.MOST_TREE_BITS)
    _check.party(party)
    y = _check.words("y", y)
    _check.shape("y", y, (y.size,))
    parts = _key_parts(seeds, cw_seeds, cw_bits, words, (y.size, n, n))
    if bool((y >> np.uint64(n)).any()):
        raise ValueError(f"y must lie below 2^{n}")
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
