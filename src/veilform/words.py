"""Arrays of words as bytes: whole little-endian bytes a word, single bits packed eight to one."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np

from veilform.errors import ProtocolError
from veilform.kernels.wordbytes import from_bytes, packed_size, to_bytes
from veilform.ring import Words

__all__ = ["pack", "packed_size", "unpack"]

#: Words of 64 bits are then their own bytes, and go and come without a copy.
_LITTLE = sys.byteorder == "little"


def pack(words: Words, bits: int) -> memoryview:
    """The lowest ``bits`` bits of each word, as bytes. The bits above are not sent.

    May share memory with ``words`` if bits is 64.
    """
    words = np.ascontiguousarray(words, dtype=np.uint64)
    if bits == 64 and _LITTLE:
        return memoryview(words.reshape(-1).view(np.uint8))
    return memoryview(to_bytes(words, bits))


def unpack(data: Any, shape: tuple[int, ...], bits: int) -> Words:
    """The inverse of :func:`pack`, as ``uint64``. May share memory with ``data`` if bits is 64.

    Raises:
        ProtocolError: when the bytes are not of the size that shape and bits give, or hold a word
        out of range.
    """
    count = math.prod(shape)
    raw = np.frombuffer(data, dtype=np.uint8)
    if raw.size != packed_size(count, bits):
        raise ProtocolError(f"{raw.size} bytes came where {packed_size(count, bits)} belong")
    if bits == 64 and _LITTLE:
        wide = raw.view(np.uint64)
        return (wide if wide.flags.aligned else wide.copy()).reshape(shape)
    words, fit = from_bytes(raw, count, bits)
    if not fit:
        raise ProtocolError(f"a word of more than {bits} bits came")
    return words.reshape(shape)
