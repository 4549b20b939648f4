"""Winograd's convolution with 3 x 3 kernels, F(m x m, 3 x 3), in the ring Z/2^64.

An image is cut into tiles of a x a pixels, a = m + 2, that overlap by two. With g a kernel and d a
tile, the m x m outputs that d determines are (Lavin, Gray, CVPR 2016)

    Y = A^T [ (G g G^T) o (B^T d B) ] A,

o elementwise. Summed over the input channels that is a^2 matrix products, each (tiles, C) by
(C, K): a^2 / m^2 multiply-adds an output pixel and pair of channels, where a direct convolution has
9. So F(2, 3) takes 2.25 times fewer and F(4, 3) 4 times.

A and B are integer. G has denominators: c G is integer, for c = 2 and c = 24 = 8 x 3. A ring of
2^k elements has inverses of odd numbers alone. So kernels are transformed by c G and divided by the
odd part of c^2; what is left is a power of two that stays: outputs come as 2^shift Y, shift = 2 and
6, **exactly**, and their ring needs so many bits more. They are dropped with the others that a
product in fixed point has below its scale, which costs nothing.

All three transforms are linear over the ring, so they apply to each share alone.

Shapes: L leading axes; H, W rows and columns; C, K channels in and out; T = a^2 products.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from veilform import kernels
from veilform.ring import WORD, Words, constant, reduce

Matrix = tuple[tuple[int, ...], ...]

KERNEL = 3
_CACHED_WORDS = 1 << 16


class Transform(NamedTuple):
    """F(m x m, 3 x 3).

    Attributes:
        tile: m, the output pixels of a tile in each direction.
        shift: outputs come times 2^shift.
        inputs, kernels, outputs: B^T (a, a), c G (a, 3), A^T (m, a).
        odd: what divides c^2 after the power of two.
    """

    tile: int
    shift: int
    inputs: Matrix
    kernels: Matrix
    outputs: Matrix
    odd: int

    @property
    def size(self) -> int:
        """a, the input pixels of a tile in each direction."""
        return self.tile + KERNEL - 1


F23 = Transform(
    2,
    2,
    ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
    ((2, 0, 0), (1, 1, 1), (1, -1, 1), (0, 0, 2)),
    ((1, 1, 1, 0), (0, 1, -1, -1)),
    1,
)
F43 = Transform(
    4,
    6,
    (
        (4, 0, -5, 0, 1, 0),
        (0, -4, -4, 1, 1, 0),
        (0, 4, -4, -1, 1, 0),
        (0, -2, -1, 2, 1, 0),
        (0, 2, -1, -2, 1, 0),
        (0, 4, 0, -5, 0, 1),
    ),
    ((6, 0, 0), (-4, -4, -4), (-4, 4, -4), (1, 2, 4), (1, -2, 4), (0, 0, 24)),
    ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1)),
    9,
)
TRANSFORMS = {2: F23, 4: F43}
"""By m."""


def tiles_along(length: int, padding: int, tile: int) -> int:
    """How many tiles cover the outputs of ``length`` pixels padded at both ends."""
    return -(-(length + 2 * padding - KERNEL + 1) // tile)


def transform_kernels(weights: Words, tile: int) -> Words:
    """(3, 3, C, K) to (T, C, K): 2^shift G g G^T modulo 2^64."""
    how = TRANSFORMS[tile]
    half = _along(how.kernels, list(weights))
    whole = [_along(how.kernels, list(row)) for row in half]
    inverse = constant(pow(how.odd, -1, 1 << WORD))
    out = np.stack([part for row in whole for part in row])
    return out if how.odd == 1 else out * inverse


def convolve(
    x: Words,
    stack: kernels.PackedStack,
    tile: int,
    padding: int,
    bits: int,
    onto: Words | None = None,
) -> Words:
    """2^shift times the convolution of (L..., H, W, C), mod 2^bits: (L..., H', W', K).

    Args:
        stack: what ``transform_kernels`` made of the kernels, packed.
        onto: an array that it is added to, in place; then that is what is returned.
    """
    *lead, height, width, channels = x.shape
    after = tuple(n + 2 * padding - KERNEL + 1 for n in (height, width))
    shape = (*lead, *after, stack.shape[2])
    images = x.reshape(-1, height, width, channels)
    into = None if onto is None else onto.reshape(len(images), *shape[-3:])
    compiled = kernels.winograd(images, stack, tile, padding, bits, into)
    if compiled is not None:
        return compiled.reshape(shape) if onto is None else onto
    products = kernels.matmul(transform_inputs(x, tile, padding), stack, bits)
    out = transform_outputs(products, tile, *after)
    if onto is None:
        return reduce(out, bits)
    onto[...] = reduce(out + onto, bits)
    return onto


def transform_inputs(x: Words, tile: int, padding: int) -> Words:
    """(L..., H, W, C) to (T, L..., tiles down, tiles across, C): B^T d B of every tile d.

    Pixels beyond the image are zeros: ``padding`` on each side, and what fills the last tiles.
    """
    how = TRANSFORMS[tile]
    *lead, height, width, channels = x.shape
    down, across = (tiles_along(n, padding, tile) for n in (height, width))
    images = x.reshape(-1, height, width, channels)
    shape = (how.size**2, *lead, down, across, channels)
    padded = np.zeros((len(images), down * tile + 2, across * tile + 2, channels), np.uint64)
    padded[:, padding : padding + height, padding : padding + width] = images
    size = how.size
    out = np.empty((size, size, len(images), down, across, channels), np.uint64)
    for some, first, last in _bands(len(images), down, size * padded.shape[2] * channels):
        band = padded[some, first * tile : last * tile + 2]
        rows = [band[:, i : i + (last - first - 1) * tile + 1 : tile] for i in range(size)]
        for i, row in enumerate(_along(how.inputs, rows)):
            columns = [row[:, :, j : j + (across - 1) * tile + 1 : tile] for j in range(size)]
            _along(how.inputs, columns, list(out[i, :, some, first:last]))
    return out.reshape(shape)


def transform_outputs(products: Words, tile: int, height: int, width: int) -> Words:
    """(T, L..., tiles down, tiles across, K) to (L..., height, width, K): A^T p A of each tile."""
    how = TRANSFORMS[tile]
    *lead, down, across, channels = products.shape[1:]
    flat = products.reshape(how.size**2, -1, down, across, channels)
    parts = flat.reshape(how.size, how.size, -1, down, across, channels)
    out = np.empty((parts.shape[2], down, tile, across, tile, channels), np.uint64)
    for some, first, last in _bands(len(out), down, how.size * tile * across * channels):
        band = parts[:, :, some, first:last]
        columns = [_along(how.outputs, list(band[:, j])) for j in range(how.size)]
        for i in range(tile):
            into = out[some, first:last, i].transpose(3, 0, 1, 2, 4)
            _along(how.outputs, [column[i] for column in columns], list(into))
    whole = out.reshape(-1, down * tile, across * tile, channels)
    return np.ascontiguousarray(whole[:, :height, :width]).reshape(*lead, height, width, channels)


def _bands(images: int, rows: int, words: int) -> Iterator[tuple[slice, int, int]]:
    """(images, first row of tiles, last + 1), so that ``words`` a row stay in a core's cache.

    Several small images together, or a part of a large one.
    """
    together = max(1, _CACHED_WORDS // (words * rows))
    step = rows if together > 1 else max(1, _CACHED_WORDS // words)
    for image in range(0, images, together):
        for first in range(0, rows, step):
            yield slice(image, image + together), first, min(first + step, rows)


def _along(
    matrix: Matrix, parts: Sequence[Words], into: Sequence[Words] | None = None
) -> list[Words]:
    """For each row of the matrix, the sum of its entries times the parts, modulo 2^64."""
    out = [np.empty(parts[0].shape, np.uint64) for _ in matrix] if into is None else list(into)
    for row, result in zip(matrix, out, strict=True):
        _combine(row, parts, result)
    return out


def _combine(row: Sequence[int], parts: Sequence[Words], out: Words) -> None:
    """out = the sum of the row's entries times the parts, in few passes where entries are +-1."""
    terms = [(c, part) for c, part in zip(row, parts, strict=True) if c]
    terms.sort(key=lambda term: (term[0] != 1, abs(term[0]) != 1))
    (first, a), *rest = terms
    if first == 1 and rest and abs(rest[0][0]) == 1:
        (sign, b), *rest = rest
        (np.add if sign == 1 else np.subtract)(a, b, out=out)
    else:
        np.multiply(a, constant(first), out=out)
    for c, part in rest:
        size = part if abs(c) == 1 else part * constant(abs(c))
        (np.add if c > 0 else np.subtract)(out, size, out=out)
