"""Winograd's convolution, compiled; ``veilform.winograd`` explains it."""

from __future__ import annotations

import numpy as np

from veilform.kernels import _check
from veilform.kernels._check import U64
from veilform.kernels._dispatch import selected
from veilform.kernels._matmul import PackedStack


def winograd(
    images: U64,
    stack: PackedStack,
    tile: int,
    padding: int,
    bits: int,
    out: U64 | None = None,
) -> U64 | None:
    """The convolution of (N, H, W, C), C > 0, modulo 2^bits; None on the reference path.

    Args:
        stack: transformed kernels ((tile + 2)^2, C, K).
        out: (N, H', W', K), C-contiguous, that the result is added to in place.

    Raises:
        ValueError: wrong dtypes or shapes, or kernels packed for another path or a smaller ring.
    """
    images = _check.words("images", images)
    _check.modulus(bits)
    at, one = selected(), stack.matrices[0]
    if at.native is None:
        return None
    if one._path != at.path or bits > one.bits:
        raise ValueError(f"kernels packed for path {one._path!r} and a ring of {one.bits} bits "
                         f"meet path {at.path!r} and {bits} bits")  # fmt: skip
    if stack.shape[:2] != ((tile + 2) ** 2, images.shape[-1]):
        raise ValueError(f"kernels {stack.shape} do not fit images {images.shape}")
    count, height, width, _ = images.shape
    shape = (count, height + 2 * padding - 2, width + 2 * padding - 2, stack.shape[2])
    accumulate = out is not None
    if out is None:
        out = np.empty(shape, np.uint64)
    else:
        _check.writable("out", out)
        _check.shape("out", out, shape)
    stride = len(stack._data) // len(stack.matrices)
    at.native.winograd(
        at.code, at.threads, out, images, stack._data, stride, one.width, tile, padding, bits,
        accumulate,
    )  # fmt: skip
    return out
