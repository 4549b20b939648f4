"""The rings Z/2^bits on NumPy ``uint64`` arrays, ``bits`` from 1 to 64.

Every value lives in a ring of its own, no wider than what it can hold asks for. Arithmetic wraps
modulo 2^64 by itself, and 2^bits divides that, so results need to be reduced only before they are
sent, shifted down or compared. Arrays may be abstract ones, while a protocol is traced.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]

WORD = 64
"""The widest ring: what a machine word holds."""


def constant(value: int, bits: int = WORD) -> np.uint64:
    """An integer, of any sign, as a ring element."""
    return np.uint64(value % (1 << bits))


def reduce(x: Any, bits: int) -> Any:
    """x mod 2^bits; free for 64 bits."""
    return x if bits >= WORD else x & np.uint64((1 << bits) - 1)


def msb(x: Any, bits: int) -> Any:
    """The highest bit of a reduced x, as 0 or 1."""
    return x >> np.uint64(bits - 1)


def offset(bits: int) -> np.uint64:
    """2^(bits-2): added to a value in [-2^(bits-2), 2^(bits-2)) it gives one below 2^(bits-1)."""
    return np.uint64(1 << (bits - 2))


def extend(x: Any, bits: int) -> Any:
    """A reduced x as the same signed integer in 64 bits."""
    top = np.uint64(1 << (bits - 1))
    return (x ^ top) - top


def signed(x: Words, bits: int = WORD) -> npt.NDArray[np.int64]:
    """The elements as signed integers in [-2^(bits-1), 2^(bits-1))."""
    out: Words = extend(reduce(x, bits), bits)
    return out.view(np.int64)
