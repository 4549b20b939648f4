"""Arrays of words as bytes: whole little-endian bytes a word, single bits packed eight to one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from veilform.errors import ProtocolError
from veilform.ring import Words


def packed_size(count: int, bits: int) -> int:
    """Bytes of ``count`` words of ``bits`` bits each on the wire."""
    return (count + 7) // 8 if bits == 1 else count * ((bits + 7) // 8)


def pack(words: Words, bits: int) -> memoryview:
    """The lowest ``bits`` bits of each word, as bytes. The bits above are not sent."""
    if bits == 1:
        return memoryview(np.packbits((words & np.uint64(1)).astype(np.uint8), axis=None))
    words = np.ascontiguousarray(words, dtype="<u8")
    if bits < 64:
        words = words & np.uint64((1 << bits) - 1)
    width = (bits + 7) // 8
    if width == 8:
        return memoryview(words.reshape(-1).view(np.uint8))
    if width in (1, 2, 4):
        return memoryview(words.reshape(-1).astype(f"<u{width}").view(np.uint8))
    return memoryview(
        np.ascontiguousarray(words.reshape(-1).view(np.uint8).reshape(-1, 8)[:, :width]).reshape(-1)
    )


def unpack(data: Any, shape: tuple[int, ...], bits: int) -> Words:
    """The inverse of :func:`pack`, as ``uint64``. May share memory with ``data``.

    Raises:
        ProtocolError: when the bytes are not of the size that shape and bits give, or hold a word
        out of range.
    """
    count = math.prod(shape)
    raw = np.frombuffer(data, dtype=np.uint8)
    if raw.size != packed_size(count, bits):
        raise ProtocolError(f"{raw.size} bytes came where {packed_size(count, bits)} belong")
    if bits == 1:
        return np.unpackbits(raw, count=count).astype(np.uint64).reshape(shape)
    width = (bits + 7) // 8
    if width == 8:
        words = np.require(raw.view("<u8"), np.uint64, "A")
    elif width in (1, 2, 4):
        words = raw.view(f"<u{width}").astype(np.uint64)
    else:
        padded = np.zeros((count, 8), np.uint8)
        padded[:, :width] = raw.reshape(count, width)
        words = padded.reshape(-1).view("<u8")
    if bits % 8 and count and int(words.max()) >> bits:
        raise ProtocolError(f"a word of more than {bits} bits came")
    return words.reshape(shape)
