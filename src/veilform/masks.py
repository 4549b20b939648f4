"""Masks by name, and the views through which values and masks are read alike.

A mask is uniform, is drawn once, and is known to the dealer. Correlations speak of masks by name:
when the value under mask r is sliced or transposed, so is r, and the view says how. Every view but
:class:`Drop` is linear over the ring, so view(x - r) = view(x) - view(r).
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
import numpy as np

from veilform import kernels

ArrayT = TypeVar("ArrayT", bound=Any)


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


AnyView = Columns | Heads | Transpose | Centre | Row | Drop


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
