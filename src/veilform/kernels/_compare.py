"""Comparison with a hidden number: keys, and shares of one bit at public points.

The oracle in NumPy stands beside each function.
"""

from __future__ import annotations

import numpy as np

from veilform.kernels import _check, reference
from veilform.kernels._check import U8, U64
from veilform.kernels._dispatch import selected

MOST_BITS = 64
_LEAF_BITS = 7
"""A node's block of 128 bits answers for the last seven."""


def compare_levels(n: int) -> int:
    """Levels of the tree of a comparison on n bits."""
    return max(n - _LEAF_BITS, 0)


def compare_generate(seeds0: U8, seeds1: U8, alpha: U64, n: int) -> tuple[U8, U64]:
    """Correction words for K comparison functions: at t, shares of [t < alpha] by exclusive or.

    A distributed comparison function on a domain of n bits (1..64) with values of one bit. The tree
    is that of ``dpf_generate``, terminated seven levels early (Boyle, Gilboa, Ishai, CCS 2016): the
    block of a last node, corrected, holds the answer for each of the 128 points below it.
    Above, whether t is below alpha follows from control bits alone: see ``compare_evaluate``.
    Neither branches nor addresses depend on alpha or the seeds.

    Args are seeds0, seeds1 (K, 16) uint8, fresh and uniform; alpha (K,) below 2^n.

    Returns:
        blocks (K, levels + 1, 16) uint8: a correction word for each level, with the left control
        bit as the lowest bit of byte 0, then that of the last block. right_bits (K,): bit i is the
        right control bit of level i.

    Raises:
        ValueError: wrong dtypes, shapes or n, or an alpha outside the domain.
    """
    _check.domain(n, MOST_BITS)
    alpha = _check.words("alpha", alpha)
    count, levels = alpha.size, compare_levels(n)
    _check.shape("alpha", alpha, (count,))
    seeds0, seeds1 = _seeds("seeds0", seeds0, count), _seeds("seeds1", seeds1, count)
    if n < MOST_BITS and bool(np.bitwise_or.reduce(alpha, initial=0) >> np.uint64(n)):
        raise ValueError(f"alpha must lie below 2^{n}")
    at = selected()
    if at.dpf is None:
        return reference_compare_generate(seeds0, seeds1, alpha, n)
    blocks, right_bits = np.empty((count, levels + 1, 16), np.uint8), np.empty(count, np.uint64)
    keys = b"".join(reference.fixed_keys())
    at.dpf.compare_generate(at.code, at.threads, keys, seeds0, seeds1, alpha, n, blocks, right_bits)
    return blocks, right_bits


def compare_evaluate(
    party: int, seeds: U8, blocks: U8, right_bits: U64, n: int, points: U64
) -> U64:
    """One party's shares (T, K) of [points[c, k] < alpha_k]: bits whose exclusive or it is.

    On the path of a point t, the right sibling wherever t turns left: one of them at most lies on
    alpha's path, where alpha turns right after equal bits, and there alone the parties' control
    bits differ. Their exclusive or, and that of the last block's bit for the lower bits of t, is
    this party's share.

    Args:
        points: (T, K) below 2^n, public. They alone choose the path.

    Raises:
        ValueError: wrong dtypes, shapes, n or party, or a point outside the domain.
    """
    _check.domain(n, MOST_BITS)
    _check.party(party)
    points = _check.words("points", points)
    if points.ndim != 2:
        raise ValueError(f"points has shape {points.shape}, expected (points, keys)")
    count = points.shape[1]
    seeds = _seeds("seeds", seeds, count)
    blocks = _check.words("blocks", blocks, np.uint8)
    _check.shape("blocks", blocks, (count, compare_levels(n) + 1, 16))
    right_bits = _check.like("right_bits", right_bits, (count,))
    if n < MOST_BITS and bool((points >> np.uint64(n)).any()):
        raise ValueError(f"points must lie below 2^{n}")
    at = selected()
    if at.dpf is None:
        return reference_compare_evaluate(party, seeds, blocks, right_bits, n, points)
    out = np.empty_like(points)
    keys = b"".join(reference.fixed_keys())
    at.dpf.compare_evaluate(
        at.code, at.threads, keys, party, seeds, blocks, right_bits, n, points, out
    )
    return out


def _seeds(name: str, seeds: U8, count: int) -> U8:
    seeds = _check.words(name, seeds, np.uint8)
    _check.shape(name, seeds, (count, 16))
    return seeds


def _bit(words: U64, at: int) -> U8:
    return ((words >> np.uint64(at)) & np.uint64(1)).astype(np.uint8)


def reference_compare_generate(seeds0: U8, seeds1: U8, alpha: U64, n: int) -> tuple[U8, U64]:
    """`compare_generate` in NumPy."""
    count, levels = len(alpha), compare_levels(n)
    blocks, right_bits = np.empty((count, levels + 1, 16), np.uint8), np.zeros(count, np.uint64)
    s = [reference.split_bit(seeds)[0] for seeds in (seeds0, seeds1)]
    t = [np.full(count, party, np.uint8) for party in (0, 1)]
    for level in range(levels):
        bit = _bit(alpha, n - 1 - level)
        right = -bit[:, None]  # all ones where the path goes right: no branch on alpha
        (l0, tl0, r0, tr0), (l1, tl1, r1, tr1) = (reference.children(seeds) for seeds in s)
        cw = ((l0 ^ l1) & right) | ((r0 ^ r1) & ~right)
        cw_left, cw_right = tl0 ^ tl1 ^ bit ^ np.uint8(1), tr0 ^ tr1 ^ bit
        blocks[:, level] = cw
        blocks[:, level, 0] |= cw_left
        right_bits |= cw_right.astype(np.uint64) << np.uint64(level)
        cw_keep = (cw_right & -bit) | (cw_left & ~-bit)
        for party, (left, tl, other, tr) in enumerate(((l0, tl0, r0, tr0), (l1, tl1, r1, tr1))):
            s[party] = ((other & right) | (left & ~right)) ^ (cw & -t[party][:, None])
            t[party] = ((tr & -bit) | (tl & ~-bit)) ^ (cw_keep & t[party])
    point = np.arange(1 << _LEAF_BITS, dtype=np.uint64)
    below = point < (alpha & np.uint64((1 << _LEAF_BITS) - 1))[:, None]
    pattern = np.packbits(below, axis=1, bitorder="little")
    blocks[:, levels] = reference.last_blocks(s[0]) ^ reference.last_blocks(s[1]) ^ pattern
    return blocks, right_bits


def reference_compare_evaluate(
    party: int, seeds: U8, blocks: U8, right_bits: U64, n: int, points: U64
) -> U64:
    """`compare_evaluate` in NumPy."""
    levels = compare_levels(n)
    out = np.zeros_like(points)
    for row, at in zip(out, points, strict=True):
        s, t = reference.split_bit(seeds)[0], np.full(at.size, party, np.uint8)
        total = np.zeros(at.size, np.uint8)
        for level in range(levels):
            cw, cw_left = reference.split_bit(blocks[:, level])
            left, tl, right, tr = reference.children(s)
            tl, tr = tl ^ (t & cw_left), tr ^ (t & _bit(right_bits, level))
            turn, on = _bit(at, n - 1 - level), t
            total ^= tr & ~-turn
            s = np.where(turn[:, None], right, left) ^ (cw & -on[:, None])
            t = np.where(turn, tr, tl)
        last = reference.last_blocks(s) ^ (blocks[:, levels] & -t[:, None])
        bits = np.unpackbits(last, axis=1, bitorder="little")
        low = (at & np.uint64((1 << _LEAF_BITS) - 1)).astype(np.int64)
        row[:] = total ^ bits[np.arange(at.size), low]
    return out
