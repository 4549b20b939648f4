"""CRC-32C (Castagnoli) of bytes, on every path the same number.

It tells any single error burst of up to 32 bits, and others but for one in 2^32; it knows its
place, so swapped or shifted bytes show, and it starts from ones, so a run of zeros is not 0.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veilform.kernels._check import U8
from veilform.kernels._dispatch import selected

U32 = NDArray[np.uint32]
_POLYNOMIAL = 0x82F63B78
_ONES = 0xFFFFFFFF


def crc32c(data: Any, before: int = 0) -> int:
    """The checksum of contiguous bytes that follow on those with the checksum ``before``."""
    raw = np.frombuffer(data, np.uint8)
    at = selected()
    if at.native is None:
        return reference_crc32c(raw, before)
    return int(at.native.crc32c(at.code, raw, before))


def bring_in(data: Any) -> int:
    """Has the pages of mapped bytes in memory; an error's number if that fails, else 0.

    Touching bytes that cannot be read from their file would end the process. On Linux before 5.14,
    and without compiled code, this does nothing.
    """
    native = selected().native
    return 0 if native is None else int(native.bring_in(np.frombuffer(data, np.uint8)))


def reference_crc32c(raw: U8, before: int) -> int:
    """`crc32c` in NumPy: of single bytes first, then of neighbours joined, again and again."""
    if not raw.size:
        return before
    levels = (raw.size - 1).bit_length()
    # Zeros in front leave the state zero as it is.
    parts = np.zeros(1 << levels, np.uint32)
    parts[parts.size - raw.size :] = _byte_table()[raw]
    for level in range(levels):
        parts = _moved(parts[::2], level) ^ parts[1::2]
    state = np.array([before ^ _ONES], np.uint32)
    for level in range(raw.size.bit_length()):
        if raw.size >> level & 1:
            state = _moved(state, level)
    return int(state[0] ^ parts[0]) ^ _ONES


@lru_cache(maxsize=1)
def _byte_table() -> U32:
    """What each byte leaves of a state of zero."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> np.uint32(1)) ^ (table & np.uint32(1)) * np.uint32(_POLYNOMIAL)
    return table


@lru_cache(maxsize=64)
def _move_tables(level: int) -> U32:
    """For each byte of a state, what it leaves once 2^level zero bytes have passed."""
    own = np.arange(256, dtype=np.uint32)[None, :] << (8 * np.arange(4, dtype=np.uint32))[:, None]
    if level:
        return _moved(_moved(own, level - 1), level - 1)
    return _byte_table()[own & np.uint32(255)] ^ (own >> np.uint32(8))


def _moved(states: U32, level: int) -> U32:
    tables = _move_tables(level)
    out = tables[0][states & np.uint32(255)]
    for j in range(1, 4):
        out = out ^ tables[j][(states >> np.uint32(8 * j)) & np.uint32(255)]
    return out
