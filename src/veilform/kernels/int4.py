"""Products of matrices of 4-bit integers, -8 to 7, two of them in each byte.

``pack4`` lays rows out for the left, ``panels4`` for the right; ``matmul4`` multiplies them exactly
in 32 bits. Every path of `veilform.kernels` returns the same integers; the fastest is VNNI's
(AVX-512), then AVX2's. The bytes are described in native/int4.hpp.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from veilform.kernels import _check
from veilform.kernels._check import U8
from veilform.kernels._dispatch import selected

I8 = npt.NDArray[np.int8]
I32 = npt.NDArray[np.int32]

LEAST, MOST = -8, 7
#: Of the inner axis: sums stay inside 32 bits.
MOST_INNER = 1 << 24
PANEL = 16


@dataclass(frozen=True)
class Rows4:
    """Rows (m, k) of 4-bit integers; ``data`` is (m, 4 ceil(k / 8)) bytes. Made by ``pack4``."""

    data: U8
    shape: tuple[int, int]


@dataclass(frozen=True)
class Panels4:
    """A right operand given by its rows (n, k), in panels of 16 rows. Made by ``panels4``."""

    data: U8
    shape: tuple[int, int]


def pack4(x: I8) -> Rows4:
    """Two integers a byte.

    Args:
        x: int8 (m, k), every value from -8 to 7, k at most 2^24.

    Raises:
        ValueError: another dtype, shape or range.
    """
    x = _check.words("x", x, np.int8)
    if x.ndim != 2 or not 1 <= x.shape[1] <= MOST_INNER:
        raise ValueError(f"pack4 takes a matrix (m, k) with k from 1 to 2^24, not shape {x.shape}")
    if x.size and not (x.min() >= LEAST and x.max() <= MOST):
        raise ValueError("a 4-bit integer lies in -8..7")
    m, k = x.shape
    whole = x
    if k % 8:
        whole = np.zeros((m, -(-k // 8) * 8), np.int8)
        whole[:, :k] = x
    halves = (whole.view(np.uint8) + np.uint8(8)).reshape(m, whole.shape[1] // 8, 2, 4)
    data = halves[:, :, 0] | halves[:, :, 1] << np.uint8(4)
    return Rows4(data.reshape(m, whole.shape[1] // 2), (m, k))


def panels4(x: I8) -> Panels4:
    """The same for the right side: x (n, k) is the transpose of what is multiplied by."""
    rows = pack4(x)
    n, width = rows.data.shape
    padded = np.full((-(-n // PANEL) * PANEL, width), 0x88, np.uint8)
    padded[:n] = rows.data
    panels = padded.reshape(-1, PANEL, width // 4, 4).transpose(0, 2, 1, 3)
    return Panels4(np.ascontiguousarray(panels).reshape(-1), rows.shape)


def unpack4(data: U8, k: int) -> I8:
    """The integers (m, k) of rows that ``pack4`` laid out."""
    rows, width = data.shape
    groups = data.reshape(rows, width // 4, 4)
    halves = np.stack([groups & np.uint8(15), groups >> np.uint8(4)], axis=2)
    return halves.reshape(rows, 2 * width)[:, :k].view(np.int8) - np.int8(8)


def matmul4(a: Rows4, b: Panels4) -> I32:
    """The exact product a b^T, int32 (m, n), of rows (m, k) and panels of (n, k).

    Raises:
        ValueError: the inner axes differ.
    """
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"the inner axes differ: {a.shape[1]} and {b.shape[1]}")
    at = selected()
    if at.native is None:
        return reference4(a, b)
    out = np.empty((a.shape[0], b.shape[0]), np.int32)
    at.native.int4_matmul(at.code, at.threads, a.data, b.data, a.shape[1], out)
    return out


def reference4(a: Rows4, b: Panels4) -> I32:
    """``matmul4`` in NumPy."""
    (_, k), (n, _) = a.shape, b.shape
    width = a.data.shape[1]
    rows = b.data.reshape(-1, width // 4, PANEL, 4).transpose(0, 2, 1, 3).reshape(-1, width)[:n]
    return unpack4(a.data, k).astype(np.int32) @ unpack4(rows, k).astype(np.int32).T
