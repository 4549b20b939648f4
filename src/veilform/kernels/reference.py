"""The kernels in plain NumPy: slow, short, and the oracle that the compiled ones must equal.

Everything is arithmetic modulo 2^64 on ``numpy.uint64``. The meaning of each function is in
`veilform.kernels`; the arguments here are taken to be checked already. A missing array (None)
is a term that is zero.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from veilform.kernels._check import U8, U64

_ZERO = np.uint64(0)


def matmul(a: U64, b: Any, bits: int = 64, base: Any = _ZERO) -> U64:
    """Base + (..., m, k) @ (..., k, n), where b may be signed, modulo 2^bits."""
    return _reduced(np.matmul(a, b.astype(np.uint64)) + base, bits)


# --- Bilinear forms in an opened value ------------------------------------------------------


def _mask(bits: int) -> np.uint64:
    return np.uint64(2**bits - 1)


def _reduced(x: Any, bits: int) -> U64:
    out: U64 = x & _mask(bits)
    return out


def _public(y: U64, t: int, bits: int) -> tuple[U64, U64]:
    """What y = y' 2^t shows: p = y' - 2^(bits-t-2) and 1 - msb(y'); for t = 0, y and 0."""
    y = y & _mask(bits)
    if t == 0:
        return y, np.zeros_like(y)
    return (y >> np.uint64(t)) - np.uint64(1 << (bits - 2 - t)), np.uint64(1) - (
        y >> np.uint64(bits - 1)
    )


def _times_g(x: Any, positive: U64, t: int, bits: int) -> Any:
    """G x with g = (1 - msb(y)) 2^(bits-t)."""
    shift = bits - t
    if x is None or t == 0 or shift >= 64:
        return _ZERO
    return (x.astype(np.uint64) * positive) << np.uint64(shift)


def mix(
    a: U64, b: U64 | None, negate_a: bool, negate_b: bool, plus: int, bits: int, right: int,
    then: int, left: int,
) -> U64:  # fmt: skip
    """((((a + b + plus) mod 2^bits) >> right) + then) << left."""
    out = (-a if negate_a else a) + np.uint64(plus)
    if b is not None:
        out = out - b if negate_b else out + b
    out = ((out & np.uint64(2**bits - 1)) >> np.uint64(right)) + np.uint64(then)
    return out << np.uint64(left)


def centre(x: U64) -> U64:
    """d x - sum(x)."""
    return x * np.uint64(x.shape[-1]) - x.sum(-1, keepdims=True)


def opened_share(y: U64, t: int, bits: int, lead: bool, q: U64, h: Any) -> U64:
    """Lead p - q + g h."""
    p, positive = _public(y, t, bits)
    out = _times_g(h, positive, t, bits) - q
    return _reduced(out + p if lead else out, bits)


def opened_square(y: U64, t: int, bits: int, lead: bool, q: U64, h: Any, q2: U64, qh: Any) -> U64:
    """Lead p^2 - 2 p (q - g h) + q2 - 2 g qh + g 2^(bits-t) h."""
    p, positive = _public(y, t, bits)
    two = np.uint64(2)
    out = (
        q2
        - two * p * (q - _times_g(h, positive, t, bits))
        - two * _times_g(qh, positive, t, bits)
        + _times_g(_times_g(h, positive, t, bits), positive, t, bits)
    )
    return _reduced(out + p * p if lead else out, bits)


def opened_product(
    ya: U64, ta: int, yb: U64, tb: int, bits: int, lead: bool,
    qa: U64, ha: Any, qb: U64, hb: Any, qaqb: U64, qahb: Any, haqb: Any, hahb: Any,
) -> U64:  # fmt: skip
    """Lead pa pb - pa (qb - gb hb) - pb (qa - ga ha) + qaqb - gb qahb - ga haqb + ga gb hahb."""
    pa, pos_a = _public(ya, ta, bits)
    pb, pos_b = _public(yb, tb, bits)
    out = (
        qaqb
        - pa * (qb - _times_g(hb, pos_b, tb, bits))
        - pb * (qa - _times_g(ha, pos_a, ta, bits))
        - _times_g(qahb, pos_b, tb, bits)
        - _times_g(haqb, pos_a, ta, bits)
        + _times_g(_times_g(hahb, pos_b, tb, bits), pos_a, ta, bits)
    )
    return _reduced(out + pa * pb if lead else out, bits)


# --- Cosines and sines ----------------------------------------------------------------------
# Chebyshev fits of cos(pi/4 sqrt u) and sin(pi/4 sqrt u) / sqrt u on [0, 1]; signs alternate.

_UNIT = np.uint64(30)  # fraction bits
_COS = (1073741824, 331168967, 17023452, 349974, 3790)
_SIN = (843314857, 86699833, 2674039, 39269, 332)


def _alternating(coefficients: tuple[int, ...], u: U64) -> U64:
    """c0 - u (c1 - u (c2 - ...)): no step is negative."""
    out = np.full_like(u, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        out = np.uint64(c) - ((out * u) >> _UNIT)
    return out


def _phasor(x: U64, period: int, order: int) -> tuple[U64, U64]:
    """cos and sin of order x / 2^period turns, with 30 fraction bits, two's complement."""
    eighth = np.uint64(1 << 29)
    angle = (x * np.uint64(order)) << np.uint64(32 - period)
    moved = (angle + eighth) & np.uint64(2**32 - 1)
    quadrant = moved >> _UNIT
    rest = ((moved & np.uint64(2**30 - 1)) - eighth).view(np.int64)
    m = np.abs(rest).view(np.uint64) << np.uint64(1)
    u = (m * m) >> _UNIT
    c, s = _alternating(_COS, u), (_alternating(_SIN, u) * m) >> _UNIT
    s = np.where(rest < 0, -s, s)
    odd = (quadrant & np.uint64(1)).astype(bool)
    cos, sin = np.where(odd, s, c), np.where(odd, c, s)
    not_cos = (quadrant == 1) | (quadrant == 2)
    return np.where(not_cos, -cos, cos), np.where(quadrant >= 2, -sin, sin)


def _rounded(x: U64, right: int) -> U64:
    """x / 2^right of a signed x, rounded half up."""
    out = (x.view(np.int64) + np.int64(1 << right >> 1)) >> np.int64(right)
    return out.view(np.uint64)


def phasor(x: U64, period: int, order: int, scale: int) -> tuple[U64, U64]:
    """cos and sin with ``scale`` fraction bits."""
    cos, sin = _phasor(x, period, order)
    return _rounded(cos, 30 - scale), _rounded(sin, 30 - scale)


def harmonic(
    onto: U64, x: U64, period: int, order: int, a: int, b: int, cos: U64, sin: U64
) -> None:
    """Onto += (a c + b s) cos + (a s - b c) sin, with c and s of x."""
    c, s = _phasor(x, period, order)
    wide_a, wide_b = np.uint64(a % 2**64), np.uint64(b % 2**64)
    onto += _rounded(wide_a * c + wide_b * s, 30) * cos
    onto += _rounded(wide_a * s - wide_b * c, 30) * sin


# --- Distributed point functions ------------------------------------------------------------
# Boyle, Gilboa, Ishai: Function Secret Sharing: Improvements and Extensions (CCS 2016), fig. 1,
# with Matyas-Meyer-Oseas over AES-128 under three fixed public keys as the generator.


@cache
def fixed_keys() -> tuple[bytes, bytes, bytes]:
    """The public AES keys of the generator: left child, right child, convert."""
    left, right, convert = (
        hashlib.sha256(b"veilform dpf " + name).digest()[:16]
        for name in (b"left", b"right", b"convert")
    )
    return left, right, convert


def _mmo(key: bytes, seeds: U8) -> U8:
    """AES_key(s) xor s for each row of seeds (..., 16)."""
    # ECB here is the bare block permutation on independent blocks, which is what MMO is made of.
    block = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305
    out = np.frombuffer(block.update(seeds.tobytes()), np.uint8).reshape(seeds.shape)
    return out ^ seeds


def split_bit(blocks: U8) -> tuple[U8, U8]:
    """Seeds with the lowest bit of byte 0 cleared, and that bit."""
    seeds = blocks.copy()
    bit = seeds[..., 0] & np.uint8(1)
    seeds[..., 0] &= np.uint8(0xFE)
    return seeds, bit


def children(seeds: U8) -> tuple[U8, U8, U8, U8]:
    """Left seed and control bit, right seed and control bit."""
    left, right, _ = fixed_keys()
    return (*split_bit(_mmo(left, seeds)), *split_bit(_mmo(right, seeds)))


def last_blocks(seeds: U8) -> U8:
    """The blocks that nodes' values are made of: (..., 16) of each."""
    return _mmo(fixed_keys()[2], seeds)


def _convert(seeds: U8) -> U64:
    """Two little-endian words a seed: (..., 16) -> (..., 2)."""
    return np.ascontiguousarray(last_blocks(seeds)).view("<u8").astype(np.uint64)


def dpf_generate(
    seeds0: U8, seeds1: U8, alpha: U64, payload: U64, n: int, levels: int = 1
) -> tuple[U8, U8, U64]:
    """Correction words of K keys: ((K, n, 16) seeds, (K, n) bits, (K, levels, 2) value words)."""
    count = len(alpha)
    s0, s1 = split_bit(seeds0)[0], split_bit(seeds1)[0]
    t0, t1 = np.zeros(count, np.uint8), np.ones(count, np.uint8)
    cw_seeds, cw_bits = np.empty((count, n, 16), np.uint8), np.empty((count, n), np.uint8)
    words = np.empty((count, levels, 2), np.uint64)
    for level in range(n):
        bit = ((alpha >> np.uint64(n - 1 - level)) & np.uint64(1)).astype(np.uint8)
        right = -bit[:, None]  # all ones where the path goes right: no branch on alpha
        l0, tl0, r0, tr0 = children(s0)
        l1, tl1, r1, tr1 = children(s1)
        cw = ((l0 ^ l1) & right) | ((r0 ^ r1) & ~right)
        cw_left, cw_right = tl0 ^ tl1 ^ bit ^ np.uint8(1), tr0 ^ tr1 ^ bit
        cw_seeds[:, level], cw_bits[:, level] = cw, cw_left | (cw_right << np.uint8(1))
        cw_keep = (cw_right & -bit) | (cw_left & ~-bit)
        t_keep0 = (tr0 & -bit) | (tl0 & ~-bit)
        t_keep1 = (tr1 & -bit) | (tl1 & ~-bit)
        s0 = ((r0 & right) | (l0 & ~right)) ^ (cw & -t0[:, None])
        s1 = ((r1 & right) | (l1 & ~right)) ^ (cw & -t1[:, None])
        t0, t1 = t_keep0 ^ (cw_keep & t0), t_keep1 ^ (cw_keep & t1)
        if level + levels >= n:
            sign = np.uint64(1) - np.uint64(2) * t1.astype(np.uint64)[:, None]
            words[:, level + levels - n] = sign * (payload - _convert(s0) + _convert(s1))
    return cw_seeds, cw_bits, words


def dpf_expand(party: int, seeds: U8, cw_seeds: U8, cw_bits: U8, words: U64, n: int) -> U64:
    """Every party's share of the point function at every point: (K, 2^n, 2)."""
    count = len(seeds)
    s = split_bit(seeds)[0].reshape(count, 1, 16)
    t = np.full((count, 1), party, np.uint8)
    for level in range(n):
        left, tl, right, tr = children(s)
        on = -t[..., None]
        cw, bits = split_bit(cw_seeds[:, None, level])[0], cw_bits[:, None, level]
        pairs = np.stack([left ^ (cw & on), right ^ (cw & on)], axis=2)
        bit_pairs = np.stack([tl ^ (t & bits), tr ^ (t & (bits >> np.uint8(1)))], axis=2)
        s, t = pairs.reshape(count, -1, 16), bit_pairs.reshape(count, -1) & np.uint8(1)
    values = _convert(s) + t.astype(np.uint64)[..., None] * words
    return -values if party else values


def dpf_lookup(
    party: int, seeds: U8, cw_seeds: U8, cw_bits: U8, words: U64, n: int, y: U64, table: U64
) -> U64:
    """Shares of payload[w] table[(y - alpha) mod 2^n, c]: (K, T, 2)."""
    count, size = len(seeds), 1 << n
    out = np.empty((count, table.shape[1], 2), np.uint64)
    step = max(1, (1 << 16) // size)  # bounds the memory, not the meaning
    index = np.arange(size, dtype=np.uint64)
    for first in range(0, count, step):
        part = slice(first, first + step)
        values = dpf_expand(party, seeds[part], cw_seeds[part], cw_bits[part], words[part], n)
        rows = (y[part, None] - index) & np.uint64(size - 1)
        out[part] = np.matmul(table[rows].transpose(0, 2, 1), values)
    return out


def dpf_segments(
    party: int, seeds: U8, cw_seeds: U8, cw_bits: U8, words: U64, n: int, y: U64, segments: Any
) -> U64:
    """Shares (K, 4) of intercept, slope, slope times the payload's second word, and outside."""
    first, last, fine, grid, rows = segments

    def done(start: Any, length: int) -> Any:
        end = (start + length - 1) % (1 << n)
        wraps = end < start
        outside = np.where(wraps, (start > last) & (end < first), (start > last) | (end < first))
        return outside | (~wraps & (start >= first) & (end <= last) & (length << fine <= start))

    def terms(start: Any, key: Any, value: U64) -> U64:
        inside = (start >= first) & (start <= last)
        octave = np.frexp(np.maximum(start, 1).astype(np.float64))[1].astype(np.int64) - 1
        row = ((octave - first.bit_length() + 1) << grid) + (
            (start >> np.maximum(octave - grid, 0)) - (1 << grid)
        )
        line = np.where(inside[:, None], rows[np.where(inside, row, 0)], _ZERO)
        outside = np.where(inside, _ZERO, value[:, 0])[:, None]
        return np.concatenate([line * value[:, :1], line[:, 1:] * value[:, 1:], outside], axis=1)

    return _tree_sums(party, seeds, cw_seeds, cw_bits, words, n, y, 4, done, terms)


def dpf_curve(
    party: int, seeds: U8, cw_seeds: U8, cw_bits: U8, words: U64, n: int, y: U64, curve: Any
) -> U64:
    """Shares (K, 3) of intercept, slope, and slope times the payload's second word."""
    first, last, cap, wrap, rows = curve

    def done(start: Any, length: int) -> Any:
        end = start + length
        inside = (start >= first) & (end <= last + 1) & (length <= 1 << cap)
        return inside | (end <= first) | ((start > last) & (end <= 1 << n))

    def terms(start: Any, key: Any, value: U64) -> U64:
        line = rows[np.clip(start - first + 1, 0, last - first + 2)]
        above = start.astype(np.uint64) > y[key]
        intercept = line[:, 0] + np.where(above, line[:, 1] * np.uint64(wrap), _ZERO)
        slopes = line[:, 1:] * value
        return np.concatenate([(intercept * value[:, 0])[:, None], slopes], axis=1)

    return _tree_sums(party, seeds, cw_seeds, cw_bits, words, n, y, 3, done, terms)


def _tree_sums(
    party: int, seeds: U8, cw_seeds: U8, cw_bits: U8, words: U64, n: int, y: U64,
    columns: int, done: Any, terms: Any,
) -> U64:  # fmt: skip
    """Sums (K, columns) of terms(start, key, value) over the highest nodes that are done.

    A node stands for the indices from ``start`` on, as many as it has leaves: done(start, count).
    """
    out = np.zeros((len(y), columns), np.uint64)
    key = np.arange(len(y))
    prefix = np.zeros(len(y), np.int64)
    s, t = split_bit(seeds)[0], np.full(len(y), party, np.uint8)
    for level in range(n):
        left, tl, right, tr = children(s)
        on, cw, bits = -t[:, None], split_bit(cw_seeds[key, level])[0], cw_bits[key, level]
        s = np.stack([left ^ (cw & on), right ^ (cw & on)], axis=1).reshape(-1, 16)
        t = np.stack([tl ^ (t & bits), tr ^ (t & (bits >> np.uint8(1)))], axis=1).reshape(-1)
        t &= np.uint8(1)
        key = np.repeat(key, 2)
        prefix = np.stack([2 * prefix, 2 * prefix + 1], axis=1).reshape(-1)

        length = 1 << (n - 1 - level)
        start = (y[key].astype(np.int64) - (prefix + 1) * length + 1) % (1 << n)
        value = _convert(s) + t.astype(np.uint64)[:, None] * words[key, level]
        ended = done(start, length)
        np.add.at(out, key[ended], terms(start[ended], key[ended], value[ended]))
        more = ~ended
        key, prefix, s, t = key[more], prefix[more], s[more], t[more]
    return -out if party else out
