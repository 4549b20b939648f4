"""Winograd's transforms of tiles, compiled; ``veilform.winograd`` explains them."""

from __future__ import annotations

import numpy as np

from veilform.kernels import _check
from veilform.kernels._check import U64
from veilform.kernels._dispatch import selected


def tile_inputs(images: U64, tile: int, padding: int, down: int, across: int) -> U64 | None:
    """(N, H, W, C) to (T, N, down, across, C), or None on the reference path.

    Raises:
        ValueError: wrong dtypes or shapes.
    """
    images = _check.words("images", images)
    at = selected()
    if at.native is None:
        return None
    count, _, _, channels = images.shape
    out = np.empty(((tile + 2) ** 2, count, down, across, channels), np.uint64)
    at.native.tile_inputs(at.code, at.threads, out, images, tile, padding)
    return out


def tile_outputs(products: U64, tile: int, height: int, width: int) -> U64 | None:
    """(T, N, down, across, K) to (N, height, width, K), or None on the reference path.

    Raises:
        ValueError: wrong dtypes or shapes.
    """
    products = _check.words("products", products)
    at = selected()
    if at.native is None:
        return None
    out = np.empty((products.shape[1], height, width, products.shape[-1]), np.uint64)
    at.native.tile_outputs(at.code, at.threads, out, products, tile)
    return out
