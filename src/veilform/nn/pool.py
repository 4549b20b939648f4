"""Pooling of images (B, H, W, C). An average is a sum, its divisor a factor of the next weights."""

from __future__ import annotations

import msgspec
import numpy as np

from veilform.masks import Pixels, SumPool
from veilform.protocol.compare import maximum
from veilform.protocol.effects import Protocol
from veilform.protocol.party import Party
from veilform.values import Additive, Array, Preshared


class Pool(msgspec.Struct, frozen=True):
    """A square window that moves by ``stride`` over a padded image."""

    size: int
    stride: int
    padding: int = 0

    def after(self, length: int) -> int:
        """Pixels along an axis of the output, for ``length`` of the input."""
        return (length + 2 * self.padding - self.size) // self.stride + 1


def max_pool(me: Party, x: Additive, pool: Pool) -> Protocol[Additive]:
    """The largest of each window, (B, H', W', C), of values that are not negative.

    Windows are reduced along columns, then along rows: size - 1 comparisons for each of both, where
    all of a window's pixels at once would be size^2 - 1. As no value is negative, what lies beyond
    the edges may be zero, and never wins. Any two values differ by less than half the ring.
    """
    for axis in (1, 2):
        strips = _strips(x.share, axis, pool)
        x = Additive(strips[0], x.bits)
        for strip in strips[1:]:
            x = yield from maximum(me, x, Additive(strip, x.bits))
    return x


def _strips(x: Array, axis: int, pool: Pool) -> list[Array]:
    """For each place in a window along an axis, what it lies on at all its steps."""
    count = pool.after(x.shape[axis])
    last = (count - 1) * pool.stride + 1
    padded = _padded(x, axis, pool.padding) if pool.padding else x
    before = (slice(None),) * axis
    return [padded[(*before, slice(i, i + last, pool.stride))] for i in range(pool.size)]


def _padded(x: Array, axis: int, padding: int) -> Array:
    """Zeros at both ends of an axis: of a share, they are a sharing of zero."""
    if isinstance(x, np.ndarray):
        edges = [(0, 0)] * x.ndim
        edges[axis] = (padding, padding)
        return np.pad(x, edges)
    shape = list(x.shape)
    shape[axis] += 2 * padding
    return type(x)(tuple(shape))


def sum_pool(x: Preshared, pool: Pool) -> Preshared:
    """size^2 times the average of each window, padding counted in: (B, H', W', C). Local."""
    return x.view(SumPool(pool.size, pool.stride, pool.padding))


def sum_pixels(x: Preshared) -> Preshared:
    """H W times the average over an image: (B, C). Local."""
    return x.view(Pixels())
