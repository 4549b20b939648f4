"""An array that has a shape and no content: what a protocol computes with while it is traced."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


class Abstract:
    """Stands in for a ``uint64`` array. Arithmetic yields shapes, by NumPy's broadcasting."""

    __slots__ = ("shape",)
    # NumPy arrays and scalars on the left must leave the arithmetic to this class.
    __array_ufunc__ = None

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = tuple(int(n) for n in shape)

    @property
    def ndim(self) -> int:
        """How many axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many elements."""
        return math.prod(self.shape)

    def _with(self, other: Any) -> Abstract:
        shape = getattr(other, "shape", ())
        return Abstract(np.broadcast_shapes(self.shape, shape))

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _with
    __and__ = __rand__ = __xor__ = __rxor__ = __or__ = __ror__ = _with
    __rshift__ = __rrshift__ = __lshift__ = __rlshift__ = _with

    def __getitem__(self, key: Any) -> Abstract:
        # A zero-stride array has the shape's semantics without its memory.
        return Abstract(np.broadcast_to(np.uint8(0), self.shape)[key].shape)

    def reshape(self, *shape: int) -> Abstract:
        """As NumPy's; one axis may be -1."""
        if any(n < -1 for n in shape) or shape.count(-1) > 1:
            raise ValueError(f"{shape} is no shape")
        if -1 in shape:
            known = math.prod(n for n in shape if n != -1)
            shape = tuple(self.size // known if n == -1 else n for n in shape)
        if math.prod(shape) != self.size:
            raise ValueError(f"cannot reshape {self.shape} into {shape}")
        return Abstract(shape)

    def swapaxes(self, a: int, b: int) -> Abstract:
        """As NumPy's."""
        shape = list(self.shape)
        shape[a], shape[b] = shape[b], shape[a]
        return Abstract(tuple(shape))

    def sum(self, axis: int, keepdims: bool = False) -> Abstract:
        """As NumPy's, over one axis."""
        shape = list(self.shape)
        shape[axis] = 1
        if not keepdims:
            del shape[axis]
        return Abstract(tuple(shape))

    def __repr__(self) -> str:
        return f"Abstract{self.shape}"
