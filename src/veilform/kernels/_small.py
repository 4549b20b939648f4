"""Right operands of small integers, a power of two for each column: q 2^shift."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from veilform.kernels import _check
from veilform.kernels._check import U8, U64
from veilform.kernels._dispatch import selected

I64 = npt.NDArray[np.int64]

PANEL, GROUP = 48, 4


class SmallMatrix:
    """A right operand (k, n) of signed bytes, and a shift for each column. Made by `pack_small`.

    Attributes: ``shape``; ``bits``, the largest ring of its products; ``width``, the bytes that a
    weight takes; ``nbytes``, what all of it takes.
    """

    __slots__ = ("_data", "_path", "_shifts", "shape")

    bits, width = 64, 1

    def __init__(self, data: U8, shifts: U8, path: str, shape: tuple[int, int]) -> None:
        self._data, self._shifts, self._path, self.shape = data, shifts, path, shape

    @property
    def nbytes(self) -> int:
        """The memory that the packed matrix takes."""
        return int(self._data.nbytes + self._shifts.nbytes)

    def __repr__(self) -> str:
        return f"SmallMatrix(shape={self.shape}, path={self._path!r})"


def shifts_of(weights: npt.NDArray[Any]) -> I64:
    """By column (n,), the largest s for which 2^s divides all of it; 0 for a column of zeros."""
    joined = np.bitwise_or.reduce(weights.astype(np.int64, copy=False), axis=0)
    # x & -x is its lowest bit, and a double holds a power of two exactly.
    lowest = (joined & -joined).view(np.uint64).astype(np.float64)
    found: I64 = np.frexp(lowest)[1].astype(np.int64) - 1
    return np.maximum(found, 0)


def pack_small(weights: npt.NDArray[Any]) -> SmallMatrix:
    """Lay out a matrix (k, n) whose every column is a power of two times signed bytes.

    Its products take fewer operations the smaller the ring is, and as many whatever the weights
    are: ceil(bits / 8) products of bytes for each multiply-add.

    Raises:
        ValueError: no matrix of signed integers, or a column that is none of that; it says which.
    """
    weights = _check.weights("weights", weights)
    if weights.ndim != 2 or weights.dtype.kind != "i":
        raise ValueError(
            f"pack_small takes a matrix (k, n) of signed integers, not {weights.dtype} of shape "
            f"{weights.shape}"
        )
    k, n = weights.shape
    shifts = shifts_of(weights) if k else np.zeros(n, np.int64)
    small = weights.astype(np.int64, copy=False) >> shifts
    wide = ((small < -128) | (small > 127)).any(axis=0)
    if wide.any():
        raise ValueError(f"column {int(wide.argmax())} is no power of two times signed bytes")
    at = selected()
    narrow = small.astype(np.int8)
    data = narrow if at.native is None else _panels(narrow)
    return SmallMatrix(data.view(np.uint8), shifts.astype(np.uint8), at.path, (k, n))


def _panels(q: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """As native/small.hpp says."""
    k, n = q.shape
    whole = np.zeros((-(-k // GROUP) * GROUP, -(-n // PANEL) * PANEL), np.int8)
    whole[:k, :n] = q
    panels = whole.reshape(-1, GROUP, whole.shape[1] // PANEL, PANEL).transpose(2, 0, 3, 1)
    return np.ascontiguousarray(panels).reshape(-1)


def matmul_small(a: U64, b: SmallMatrix, bits: int, out: U64, accumulate: bool) -> None:
    """a (m, k) times b into out (m, n), modulo 2^bits; checked by `kernels.matmul`."""
    at = selected()
    if at.native is None:
        q, shifts = b._data.view(np.int8).astype(np.uint64), b._shifts.astype(np.uint64)
        product = np.matmul(a, q) << shifts
        out[...] = ((out if accumulate else 0) + product) & np.uint64(2**bits - 1)
        return
    at.native.small_matmul(at.code, at.threads, a, b._data, b._shifts, bits, out, accumulate)
