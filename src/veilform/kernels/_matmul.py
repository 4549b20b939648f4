"""The matrix product in a ring of 2^bits, and right operands laid out once for many products."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from veilform.kernels import _check, reference
from veilform.kernels._check import U8, U64
from veilform.kernels._dispatch import selected
from veilform.kernels._small import SmallMatrix, matmul_small

#: Bytes in which a packed weight may be stored.
WIDTHS = (1, 2, 3, 4, 8)
_ALIGNMENT = 64


class PackedMatrix:
    """A right operand (k, n), laid out once for many products. Made by `pack`.

    Attributes: ``shape``; ``bits``, the largest ring of its products; ``width``, the bytes that a
    word or weight takes; ``nbytes``, what all of it takes.
    """

    __slots__ = ("_data", "_path", "bits", "shape", "width")

    def __init__(
        self, data: npt.NDArray[Any], path: str, shape: tuple[int, int], width: int, bits: int
    ) -> None:
        self._data, self._path = data, path
        self.shape, self.width, self.bits = shape, width, bits

    @property
    def nbytes(self) -> int:
        """The memory that the packed matrix takes."""
        return int(self._data.nbytes)

    def __repr__(self) -> str:
        return (
            f"PackedMatrix(shape={self.shape}, width={self.width}, bits={self.bits}, "
            f"path={self._path!r})"
        )


class PackedStack:
    """Right operands (T, k, n), each laid out as a `PackedMatrix`. Made by `pack_stack`.

    Attributes: ``shape``; ``matrices``; ``nbytes``, the memory that they take.
    """

    __slots__ = ("_data", "matrices", "shape")

    def __init__(
        self, data: npt.NDArray[Any], matrices: tuple[PackedMatrix, ...], shape: tuple[int, ...]
    ) -> None:
        self._data, self.matrices, self.shape = data, matrices, shape

    @property
    def nbytes(self) -> int:
        """The memory that the packed matrices take."""
        return int(self._data.nbytes)

    def __repr__(self) -> str:
        return f"PackedStack(shape={self.shape})"


def pack_stack(b: npt.NDArray[Any], bits: int = 64) -> PackedStack:
    """`pack` for each of several matrices (T, k, n), T > 0, one behind the other.

    Raises:
        ValueError: as `pack`, or b has not three axes.
    """
    _check.modulus(bits)
    b = _check.weights("b", b)
    if b.ndim != 3 or not len(b):
        raise ValueError(f"pack_stack takes matrices (T, k, n), not shape {b.shape}")
    width = 8 if b.dtype == np.uint64 else _width(b)
    at, (count, *shape) = selected(), b.shape
    if at.native is None:
        data = _kept(b, width)
        parts = list(data)
    else:
        each = at.native.packed_bytes(at.code, *shape, width)
        stride = -(-each // _ALIGNMENT) * _ALIGNMENT
        data = _aligned(count * stride)
        parts = [data[i * stride : i * stride + each] for i in range(count)]
        for matrix, part in zip(b, parts, strict=True):
            at.native.pack(at.code, matrix.astype(np.uint64, copy=False), width, part)
    made = (PackedMatrix(part, at.path, (shape[0], shape[1]), width, bits) for part in parts)
    return PackedStack(data, tuple(made), b.shape)


def pack(b: npt.NDArray[Any], bits: int = 64) -> PackedMatrix:
    """Lay out a matrix (k, n) for the path in use, to be the right operand of many products.

    Words (uint64) take 8 bytes each, whatever they are: they may be secret, and are not looked at.
    Signed weights (int8 to int64) take 1, 2, 3, 4 or 8 bytes each, as the largest of them needs.
    Products by small weights are no slower, and read less memory.

    Args:
        b: the matrix.
        bits: the ring of the products, which are then taken modulo 2^bits.

    Raises:
        ValueError: b is no uint64 or signed matrix, or bits is not 1 to 64.
    """
    _check.modulus(bits)
    b = _check.weights("b", b)
    if b.ndim != 2:
        raise ValueError(f"pack takes a matrix (k, n), not shape {b.shape}")
    width = 8 if b.dtype == np.uint64 else _width(b)
    at = selected()
    if at.native is None:
        return PackedMatrix(_kept(b, width), at.path, b.shape, width, bits)
    data = _aligned(at.native.packed_bytes(at.code, *b.shape, width))
    at.native.pack(at.code, b.astype(np.uint64, copy=False), width, data)
    return PackedMatrix(data, at.path, b.shape, width, bits)


def _kept(weights: npt.NDArray[Any], width: int) -> npt.NDArray[Any]:
    """What the reference path multiplies by."""
    return weights.copy() if width == 8 else weights.astype(np.int16 if width < 3 else np.int32)


def _width(weights: npt.NDArray[Any]) -> int:
    """The bytes that hold every weight, in two's complement."""
    low, high = int(weights.min(initial=0)), int(weights.max(initial=0))
    return next(w for w in WIDTHS if -(1 << (8 * w - 1)) <= low and high < 1 << (8 * w - 1))


def _aligned(size: int) -> U8:
    """Bytes that begin with a cache line, so that no vector of a panel straddles two."""
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % _ALIGNMENT
    return memory[first : first + size]


def matmul(
    a: U64,
    b: U64 | PackedMatrix | SmallMatrix | PackedStack,
    bits: int | None = None,
    out: U64 | None = None,
    accumulate: bool = False,
) -> U64:
    """The product (..., m, k) @ (..., k, n) modulo 2^bits, the batch axes being equal.

    With a `PackedMatrix` or a `SmallMatrix` (k, n), every leading axis of ``a`` counts as rows;
    with a `PackedStack` (T, k, n), every one but the first, which is T: (T, ..., k) becomes
    (T, ..., n).

    Bits of the operands from ``bits`` on do not matter, and those of the result are zero. A ring of
    up to 52 bits is faster than a larger one where the CPU has AVX-512 IFMA.

    Args:
        a: words.
        b: words, or a packed matrix.
        bits: the ring, 1 to 64; by default 64, or what a packed matrix was made for.
        out: a C-contiguous array for the result, which must not overlap the operands.
        accumulate: return out + a @ b, in ``out``, instead.

    Raises:
        ValueError: wrong dtypes or shapes, bits out of range or beyond those of the packed matrix,
            b was packed for another path, or accumulate without out.
    """
    a = _check.words("a", a)
    if isinstance(b, PackedStack):
        return _matmul_stack(a, b, bits, out, accumulate)
    packed = b if isinstance(b, PackedMatrix | SmallMatrix) else None
    if bits is None:
        bits = packed.bits if packed else 64
    _check.modulus(bits)
    if accumulate and out is None:
        raise ValueError("accumulate needs out, which it adds to")
    if packed:
        return _matmul_packed(a, packed, bits, out, accumulate)
    return _matmul_plain(a, _check.words("b", b), bits, out, accumulate)


def _result(out: U64 | None, shape: tuple[int, ...]) -> U64:
    if out is None:
        return np.empty(shape, np.uint64)
    _check.writable("out", out)
    _check.shape("out", out, shape)
    return out


def _by_reference(a: U64, b: Any, bits: int, out: U64, accumulate: bool) -> U64:
    out[...] = reference.matmul(a, b, bits, out if accumulate else np.uint64(0))
    return out


def _matmul_plain(a: U64, b: U64, bits: int, out: U64 | None, accumulate: bool) -> U64:
    at = selected()
    _check.matmul_shapes(a.shape, b.shape)
    out = _result(out, (*a.shape[:-1], b.shape[-1]))
    if at.native is None:
        return _by_reference(a, b, bits, out, accumulate)
    m, k = a.shape[-2:]
    n = b.shape[-1]
    batch = int(np.prod(a.shape[:-2], dtype=np.int64))
    at.native.matmul(
        at.code, at.threads, a.reshape(batch, m, k), b.reshape(batch, k, n), bits,
        out.reshape(batch, m, n), accumulate,
    )  # fmt: skip
    return out


def _matmul_packed(
    a: U64, b: PackedMatrix | SmallMatrix, bits: int, out: U64 | None, accumulate: bool
) -> U64:
    at = selected()
    if b._path != at.path:
        raise ValueError(f"the matrix was packed for path {b._path!r}, but {at.path!r} is in use")
    if bits > b.bits:
        raise ValueError(f"the matrix was packed for a ring of {b.bits} bits, not {bits}")
    if a.ndim < 2 or a.shape[-1] != b.shape[0]:
        raise ValueError(f"shapes {a.shape} and {b.shape} cannot be multiplied")
    k, n = b.shape
    rows = int(np.prod(a.shape[:-1], dtype=np.int64))
    flat = a.reshape(rows, k)
    out = _result(out, (*a.shape[:-1], n))
    if isinstance(b, SmallMatrix):
        matmul_small(flat, b, bits, out.reshape(rows, n), accumulate)
        return out
    if at.native is None:
        _by_reference(flat, b._data, bits, out.reshape(rows, n), accumulate)
        return out
    at.native.matmul_packed(
        at.code, at.threads, flat, b._data, b.width, bits, out.reshape(rows, n), accumulate
    )
    return out


def _matmul_stack(
    a: U64, b: PackedStack, bits: int | None, out: U64 | None, accumulate: bool
) -> U64:
    if a.ndim < 3 or a.shape[0] != b.shape[0]:
        raise ValueError(f"shapes {a.shape} and {b.shape} cannot be multiplied")
    if accumulate and out is None:
        raise ValueError("accumulate needs out, which it adds to")
    out = _result(out, (*a.shape[:-1], b.shape[-1]))
    for left, matrix, result in zip(a, b.matrices, out, strict=True):
        matmul(left, matrix, bits, result, accumulate)
    return out
