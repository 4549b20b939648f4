"""Arrays of words as bytes: whole little-endian bytes a word, single bits packed eight to one.

One pass over the array in compiled code, on all threads; NumPy where that is not in use. The first
of eight single bits is the highest of its byte, and the last byte is filled up with zeros.
"""

from __future__ import annotations

import numpy as np

from veilform.kernels import _check
from veilform.kernels._check import U8, U64
from veilform.kernels._dispatch import selected


def packed_size(count: int, bits: int) -> int:
    """Bytes of ``count`` words of ``bits`` bits each."""
    return (count + 7) // 8 if bits == 1 else count * ((bits + 7) // 8)


def to_bytes(words: U64, bits: int) -> U8:
    """The lowest ``bits`` bits (1 to 64) of each word of an array of any shape, as flat bytes.

    Raises:
        ValueError: words is no uint64 array, or bits is out of range.
    """
    words = _check.words("words", words).reshape(-1)
    _check.modulus(bits)
    at = selected()
    if at.native is None:
        return reference_to_bytes(words, bits)
    out = np.empty(packed_size(words.size, bits), np.uint8)
    at.native.to_bytes(at.threads, words, bits, out)
    return out


def from_bytes(raw: U8, count: int, bits: int) -> tuple[U64, bool]:
    """``count`` words of ``bits`` bits, masked, and whether none of them was larger than that.

    Raises:
        ValueError: raw is no uint8 array (packed_size(count, bits),), or bits is out of range.
    """
    raw = _check.words("raw", raw, np.uint8)
    _check.modulus(bits)
    _check.shape("raw", raw, (packed_size(count, bits),))
    at = selected()
    if at.native is None:
        return reference_from_bytes(raw, count, bits)
    out = np.empty(count, np.uint64)
    return out, at.native.from_bytes(at.threads, raw, bits, out)


def reference_to_bytes(words: U64, bits: int) -> U8:
    """`to_bytes` of flat words in NumPy."""
    if bits == 1:
        return np.packbits((words & np.uint64(1)).astype(np.uint8))
    masked = (words & np.uint64((1 << bits) - 1)).astype("<u8")
    narrow = masked.view(np.uint8).reshape(-1, 8)[:, : (bits + 7) // 8]
    return np.ascontiguousarray(narrow).reshape(-1)


def reference_from_bytes(raw: U8, count: int, bits: int) -> tuple[U64, bool]:
    """`from_bytes` in NumPy."""
    if bits == 1:
        return np.unpackbits(raw, count=count).astype(np.uint64), True
    width = (bits + 7) // 8
    padded = np.zeros((count, 8), np.uint8)
    padded[:, :width] = raw.reshape(count, width)
    words = padded.reshape(-1).view("<u8").astype(np.uint64, copy=False)
    masked = words & np.uint64((1 << bits) - 1)
    return masked, bool((words == masked).all())
