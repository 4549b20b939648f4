"""Argument checks shared by every kernel path, so that all of them raise the same errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]
U8 = npt.NDArray[np.uint8]
#: Words that only matter modulo a small power of two may be stored narrower.
NARROW = (np.dtype(np.uint16), np.dtype(np.uint32), np.dtype(np.uint64))

MOST_TABLE_BITS = 20
#: Of a tree that is not expanded whole.
MOST_TREE_BITS = 40


def words(name: str, array: Any, dtype: Any = np.uint64) -> Any:
    """The array, C-contiguous (copied if it is a strided view).

    Raises:
        ValueError: it is no NumPy array of exactly ``dtype`` in native byte order.
    """
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name} must be a NumPy array, not {type(array).__name__}")
    if array.dtype != np.dtype(dtype):
        raise ValueError(f"{name} must be {np.dtype(dtype).name}, not {array.dtype}")
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def narrow(name: str, array: Any) -> Any:
    """Like `words`, for uint16, uint32 or uint64."""
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name} must be a NumPy array, not {type(array).__name__}")
    if array.dtype not in NARROW:
        raise ValueError(f"{name} must be uint16, uint32 or uint64, not {array.dtype}")
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def weights(name: str, array: Any) -> Any:
    """Like `words`, for uint64 or signed integers."""
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name} must be a NumPy array, not {type(array).__name__}")
    if array.dtype != np.uint64 and (array.dtype.kind != "i" or not array.dtype.isnative):
        raise ValueError(f"{name} must be uint64 or signed integers, not {array.dtype}")
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def writable(name: str, array: Any) -> None:
    """Raise ValueError unless the array can take a result: uint64, C-contiguous, not read-only."""
    if words(name, array) is not array or not array.flags.writeable:
        raise ValueError(f"{name} must be C-contiguous and writable")


def modulus(bits: int) -> None:
    """Raise ValueError unless there is a ring of ``bits`` bits."""
    if not 1 <= bits <= 64:
        raise ValueError(f"the ring has 1 to 64 bits, not {bits}")


def shape(name: str, array: Any, expected: Sequence[int]) -> None:
    """Raise ValueError unless the array has exactly this shape."""
    if array.shape != tuple(expected):
        raise ValueError(f"{name} has shape {array.shape}, expected {tuple(expected)}")


def ring(t: int, bits: int) -> None:
    """Raise ValueError unless a value of ``bits - t`` bits can be lifted to a ring of ``bits``.

    Its opening carries the offset 2^(bits-t-2); t = 0 means no lift and no offset.
    """
    modulus(bits)
    if not 0 <= t <= max(bits - 2, 0):
        raise ValueError(f"t must lie in 0..{max(bits - 2, 0)} in a ring of {bits} bits, not {t}")


def product_shapes(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    """Raise ValueError unless b equals a, or equals it but for a last axis of 1."""
    if b != a and (not a or b != (*a[:-1], 1)):
        raise ValueError(f"yb has shape {b}, expected {a} or that with a last axis of 1")


def matmul_shapes(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    """Raise ValueError unless (..., m, k) @ (..., k, n) with equal batch axes."""
    if len(a) < 2 or len(b) < 2:
        raise ValueError(f"matmul takes arrays of two or more axes, not shapes {a} and {b}")
    if a[:-2] != b[:-2]:
        raise ValueError(f"the batch axes of shapes {a} and {b} differ")
    if a[-1] != b[-2]:
        raise ValueError(f"the inner axes of shapes {a} and {b} differ: {a[-1]} and {b[-2]}")


def domain(n: int, most: int) -> None:
    """Raise ValueError unless 1 <= n <= most."""
    if not 1 <= n <= most:
        raise ValueError(f"a point function's domain has 1 to {most} bits here, not {n}")


def party(number: int) -> None:
    """Raise ValueError unless the number is a party's."""
    if number not in (0, 1):
        raise ValueError(f"party must be 0 or 1, not {number!r}")


def like(name: str, array: Any, expected: tuple[int, ...]) -> U64:
    """The array if it is uint64 of exactly this shape; else raise ValueError."""
    array = words(name, array)
    shape(name, array, expected)
    return array
