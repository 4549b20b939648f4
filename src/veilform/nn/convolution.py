"""Convolutions as linear layers: an image's pixels through a view, times one weight or a few.

Images are (B, H, W, C), channels last. No kind of convolution needs a protocol of its own:

| kind | input through | weight |
| --- | --- | --- |
| dense, direct | its patches | (size^2 C, K) |
| dense, Winograd's | the transform of its tiles, and the products back (``Tiled``) | (T, C, K) |
| grouped | groups of channels, then patches | (G, size^2 C / G, K / G) |
| depthwise | each of a window's pixels | size^2 vectors (C,) |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from veilform import winograd
from veilform.masks import Groups, Joined, Patches, Tap, Tiled
from veilform.protocol.linear import Product
from veilform.ring import Words
from veilform.values import Preshared, Weight

Shape = tuple[int, ...]


class Convolution(msgspec.Struct, frozen=True):
    """The shape of one convolution with a square kernel.

    Attributes:
        inputs, outputs: channels.
        groups: that the channels fall into.
    """

    inputs: int
    outputs: int
    size: int = 3
    stride: int = 1
    padding: int = 1
    groups: int = 1

    @property
    def depthwise(self) -> bool:
        """One kernel for each channel."""
        return self.groups > 1 and self.groups == self.inputs == self.outputs

    @property
    def winograd(self) -> bool:
        """Whether Winograd's transforms apply."""
        return self.size == winograd.KERNEL and self.stride == self.groups == 1

    def after(self, length: int) -> int:
        """Pixels along an axis of the output, for ``length`` of the input."""
        return (length + 2 * self.padding - self.size) // self.stride + 1

    def multiply_adds(self, height: int, width: int, tile: int = 0) -> int:
        """Of one image of height x width, direct, or by tiles."""
        if tile:
            down, across = (winograd.tiles_along(n, self.padding, tile) for n in (height, width))
            products = winograd.TRANSFORMS[tile].size ** 2
            return products * down * across * self.inputs * self.outputs
        pixels = self.after(height) * self.after(width)
        return pixels * self.size**2 * (self.inputs // self.groups) * self.outputs

    def weights(self, name: str, tile: int = 0) -> dict[str, Shape]:
        """Names and shapes of its weights.

        Args:
            tile: m of Winograd's F(m x m, 3 x 3); 0 for a direct convolution.
        """
        if self.depthwise:
            return {f"{name}.{i}": (self.inputs,) for i in range(self.size**2)}
        if tile:
            return {name: (winograd.TRANSFORMS[tile].size ** 2, self.inputs, self.outputs)}
        rows = self.size**2 * self.inputs // self.groups
        if self.groups > 1:
            return {name: (self.groups, rows, self.outputs // self.groups)}
        return {name: (rows, self.outputs)}

    def products(
        self, x: Preshared, name: str, weight: Callable[[str], Weight], tile: int = 0
    ) -> list[Product]:
        """The terms of a linear layer whose sum is the convolution of x (B, H, W, C).

        By tiles it is 2^shift times that: see ``veilform.winograd``.
        """
        if self.depthwise:
            taps = (Tap(self.size, self.stride, self.padding, i) for i in range(self.size**2))
            return [Product(x.view(tap), weight(f"{name}.{i}")) for i, tap in enumerate(taps)]
        if tile:
            return [Product(x, weight(name), by=Tiled(tile, self.padding))]
        if self.groups > 1:
            x = x.view(Groups(self.groups))
        if self.size > 1 or self.padding:
            x = x.view(Patches(self.size, self.stride, self.padding))
        elif self.stride > 1:
            x = x.view(Tap(1, self.stride, 0, 0))
        return [Product(x, weight(name), (Joined(),) if self.groups > 1 else ())]

    def arranged(
        self, name: str, kernel: npt.NDArray[np.int64], tile: int = 0, shift: int = 0
    ) -> dict[str, npt.NDArray[Any]]:
        """The weights of a kernel (K, C / G, size, size), times 2^shift, by name.

        They are int64 where they are small integers, and ring elements (uint64) where Winograd's
        transform has an inverse in them.

        Args:
            shift: at least that of the tile's transform, which is counted in.
        """
        if tile:
            how = winograd.TRANSFORMS[tile]
            ring: Words = np.ascontiguousarray(kernel.transpose(2, 3, 1, 0)).view(np.uint64)
            made = winograd.transform_kernels(ring, tile) << np.uint64(shift - how.shift)
            return {name: made.view(np.int64) if how.odd == 1 else made}
        kernel = kernel << np.int64(shift)
        if self.depthwise:
            taps = kernel.reshape(self.inputs, -1).T
            return {f"{name}.{i}": np.ascontiguousarray(tap) for i, tap in enumerate(taps)}
        rows = kernel.transpose(2, 3, 1, 0)
        if self.groups > 1:
            split = rows.reshape(*rows.shape[:3], self.groups, -1)
            rows = split.transpose(3, 0, 1, 2, 4)
        return {name: np.ascontiguousarray(rows).reshape(self.weights(name)[name])}
