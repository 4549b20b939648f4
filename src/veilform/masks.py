"""Masks by name, and the views through which values and masks are read alike.

A mask is uniform, is drawn once, and is known to the dealer. Correlations speak of masks by name:
when the value under mask r is sliced or transposed, so is r, and the view says how. Every view but
:class:`Drop` is linear over the ring, so view(x - r) = view(x) - view(r).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec
import numpy as np

from veilform import kernels, winograd
from veilform.ring import Words
from veilform.shapes import Abstract

ArrayT = TypeVar("ArrayT", bound=Any)
Shape = tuple[int, ...]


class View(msgspec.Struct, frozen=True, tag_field="view"):
    """A linear map on arrays, given by data alone so that a manifest can carry it."""

    def apply(self, x: ArrayT) -> ArrayT:
        """The view of ``x``: a NumPy array or an abstract one."""
        raise TypeError(f"{type(self).__name__} is not a view")


class Columns(View, frozen=True, tag="columns"):
    """Columns start to stop of the last axis."""

    start: int
    stop: int

    def apply(self, x: ArrayT) -> ArrayT:
        return x[..., self.start : self.stop]


class Heads(View, frozen=True, tag="heads"):
    """(B, S, H D) to (B, H, S, D)."""

    count: int

    def apply(self, x: ArrayT) -> ArrayT:
        batch, length, width = x.shape
        return x.reshape(batch, length, self.count, width // self.count).swapaxes(1, 2)


class Transpose(View, frozen=True, tag="transpose"):
    """Exchanges the last two axes."""

    def apply(self, x: ArrayT) -> ArrayT:
        return x.swapaxes(-1, -2)


class Centre(View, frozen=True, tag="centre"):
    """d x - sum(x) over the last axis of length d: d times the centred row, without a division."""

    def apply(self, x: ArrayT) -> ArrayT:
        if isinstance(x, np.ndarray):
            return kernels.centre(x)  # type: ignore[return-value]
        return x


class Row(View, frozen=True, tag="row"):
    """(B, S, D) to (B, 1, D): one position, such as [CLS]."""

    index: int

    def apply(self, x: ArrayT) -> ArrayT:
        return x[:, self.index : self.index + 1, :]


class Drop(View, frozen=True, tag="drop"):
    """The low ``shift`` of ``bits`` bits away: what truncation does to each share by itself."""

    bits: int
    shift: int

    def apply(self, x: ArrayT) -> ArrayT:
        if isinstance(x, np.ndarray):
            return kernels.mix(x, bits=self.bits, right=self.shift)  # type: ignore[return-value]
        return x


class _Image(View, frozen=True):
    """A view of images (..., H, W, C), channels last. Pixels beyond an image's edge are zeros."""

    def apply(self, x: ArrayT) -> ArrayT:
        if isinstance(x, np.ndarray):
            return self._view(x)  # type: ignore[return-value]
        return Abstract(self._shape(x.shape))  # type: ignore[return-value]

    def _view(self, x: Words) -> Words:
        raise TypeError(f"{type(self).__name__} is not a view")

    def _shape(self, shape: Shape) -> Shape:
        raise TypeError(f"{type(self).__name__} is not a view")


class _Window(_Image, frozen=True):
    """Of a square window that moves over a padded image by ``stride``."""

    size: int
    stride: int
    padding: int

    def _steps(self, length: int) -> int:
        """How many places it has along an axis."""
        steps = (length + 2 * self.padding - self.size) // self.stride + 1
        if steps < 1:
            raise ValueError(f"no window of {self.size} pixels fits {length} and their padding")
        return steps

    def _taps(self, x: Words) -> Iterator[Words]:
        """For each of the window's pixels, what it lies on: (..., H', W', C), not to be changed."""
        down, across = self._steps(x.shape[-3]), self._steps(x.shape[-2])
        edges = (self.padding, self.padding)
        padded = np.pad(x, [(0, 0)] * (x.ndim - 3) + [edges, edges, (0, 0)]) if self.padding else x
        for row, column in itertools.product(range(self.size), repeat=2):
            yield padded[
                ...,
                row : row + (down - 1) * self.stride + 1 : self.stride,
                column : column + (across - 1) * self.stride + 1 : self.stride,
                :,
            ]

    def _shape(self, shape: Shape) -> Shape:
        *lead, height, width, channels = shape
        return (*lead, self._steps(height), self._steps(width), channels)


class Patches(_Window, frozen=True, tag="patches"):
    """All of a window's pixels at each place: (..., H', W', size^2 C), by rows, columns, channels.

    A convolution is a matrix product of these.
    """

    def _view(self, x: Words) -> Words:
        *lead, height, width, channels = super()._shape(x.shape)
        out = np.empty((*lead, height, width, self.size**2, channels), np.uint64)
        for i, tap in enumerate(self._taps(x)):
            out[..., i, :] = tap
        return out.reshape(*lead, height, width, -1)

    def _shape(self, shape: Shape) -> Shape:
        *rest, channels = super()._shape(shape)
        return (*rest, self.size**2 * channels)


class Tap(_Window, frozen=True, tag="tap"):
    """One of a window's pixels at each place, counted by rows: (..., H', W', C).

    A depthwise convolution is a sum of these, each times a vector.
    """

    index: int

    def _view(self, x: Words) -> Words:
        return next(itertools.islice(self._taps(x), self.index, None))

    def _shape(self, shape: Shape) -> Shape:
        if not 0 <= self.index < self.size**2:
            raise ValueError(f"a window of {self.size} x {self.size} has no pixel {self.index}")
        return super()._shape(shape)


class SumPool(_Window, frozen=True, tag="sum-pool"):
    """The sum of a window's pixels at each place: (..., H', W', C)."""

    def _view(self, x: Words) -> Words:
        taps = self._taps(x)
        out = next(taps).copy()
        for tap in taps:
            out += tap
        return out


class Pixels(_Image, frozen=True, tag="pixels"):
    """The sum over all pixels: (..., C)."""

    def _view(self, x: Words) -> Words:
        return x.sum(axis=(-3, -2), dtype=np.uint64)

    def _shape(self, shape: Shape) -> Shape:
        *lead, _, _, channels = shape
        return (*lead, channels)


class Upsampled(_Image, frozen=True, tag="upsampled"):
    """Each pixel as ``factor`` x ``factor`` of them: (..., factor H, factor W, C)."""

    factor: int

    def _view(self, x: Words) -> Words:
        return x.repeat(self.factor, -3).repeat(self.factor, -2)

    def _shape(self, shape: Shape) -> Shape:
        *lead, height, width, channels = shape
        return (*lead, self.factor * height, self.factor * width, channels)


class Spread(_Image, frozen=True, tag="spread"):
    """Channels as pixels: (..., H, W, side^2 C) to (..., side H, side W, C), by rows, columns."""

    side: int

    def _view(self, x: Words) -> Words:
        *lead, height, width, _ = x.shape
        split = x.reshape(*lead, height, width, self.side, self.side, -1)
        return np.moveaxis(split, -3, -4).reshape(self._shape(x.shape))

    def _shape(self, shape: Shape) -> Shape:
        *lead, height, width, channels = shape
        if self.side < 1 or channels % self.side**2:
            raise ValueError(f"{channels} channels are not {self.side} x {self.side} pixels")
        return (*lead, self.side * height, self.side * width, channels // self.side**2)


class Groups(_Image, frozen=True, tag="groups"):
    """Channels in groups: (..., C) to (G, ..., C / G)."""

    count: int

    def _view(self, x: Words) -> Words:
        split = x.reshape(*x.shape[:-1], self.count, x.shape[-1] // self.count)
        return np.ascontiguousarray(np.moveaxis(split, -2, 0))

    def _shape(self, shape: Shape) -> Shape:
        *lead, channels = shape
        if self.count < 1 or channels % self.count:
            raise ValueError(f"{channels} channels are not {self.count} equal groups")
        return (self.count, *lead, channels // self.count)


class Joined(_Image, frozen=True, tag="joined"):
    """The inverse of :class:`Groups`: (G, ..., K) to (..., G K)."""

    def _view(self, x: Words) -> Words:
        return np.ascontiguousarray(np.moveaxis(x, 0, -2)).reshape(self._shape(x.shape))

    def _shape(self, shape: Shape) -> Shape:
        count, *lead, channels = shape
        return (*lead, count * channels)


AnyView = (
    Columns
    | Heads
    | Transpose
    | Centre
    | Row
    | Drop
    | Patches
    | Tap
    | SumPool
    | Pixels
    | Upsampled
    | Spread
    | Groups
    | Joined
)


class MaskRef(msgspec.Struct, frozen=True):
    """A named mask seen through views, applied in order."""

    name: str
    views: tuple[AnyView, ...] = ()

    def through(self, view: AnyView) -> MaskRef:
        """The same mask seen through one more view."""
        return MaskRef(self.name, (*self.views, view))

    def of(self, mask: ArrayT) -> ArrayT:
        """Applies the views to the mask's own array: a NumPy array or an abstract one."""
        for view in self.views:
            mask = view.apply(mask)
        return mask


class Tiled(msgspec.Struct, frozen=True):
    """A bilinear map of images (..., H, W, C) and kernels (T, C, K): Winograd's convolution.

    Attributes:
        tile: m of F(m x m, 3 x 3).
        padding: of the images, on each side.
    """

    tile: int
    padding: int

    def inner(self, images: Shape) -> Shape:
        """The shape of the images' transformed tiles: (T, ..., tiles down, tiles across, C).

        Raises:
            ValueError: no window fits the images.
        """
        *lead, height, width, channels = images
        down, across = (winograd.tiles_along(n, self.padding, self.tile) for n in (height, width))
        if down < 1 or across < 1:
            raise ValueError(f"no window of 3 pixels fits {height} x {width} and the padding")
        return (winograd.TRANSFORMS[self.tile].size ** 2, *lead, down, across, channels)

    def outer(self, images: Shape, outputs: int) -> Shape:
        """The shape of the result: (..., H', W', K)."""
        *lead, height, width, _ = images
        grown = 2 * self.padding - winograd.KERNEL + 1
        return (*lead, height + grown, width + grown, outputs)
