"""Plain arithmetic that runs on NumPy arrays and on PyTorch tensors alike.

So that one definition of a function is what a student is trained with and what the secure one is
held against. PyTorch is not imported: whoever passes a tensor has it.
"""

from __future__ import annotations

import math
import sys
from typing import Any, TypeAlias

import numpy as np

FloatArray: TypeAlias = Any
"""A float32 or float64 array, or a tensor; a function returns what it was given."""

MaskArray: TypeAlias = Any
"""Ones (or True) where a position holds a token, zeros where it is padding."""


def namespace(x: FloatArray) -> Any:
    """The module whose functions take ``x``: ``numpy`` or ``torch``."""
    return np if isinstance(x, np.ndarray | np.generic) else sys.modules["torch"]


# erf by a Taylor series of order four around the nearest point of a grid of 1/64. Beyond six it
# is one to double precision. The first term left out is below 1e-11.
_STEP = 1 / 64
_EDGE = 6.0
_GRID = np.arange(-_EDGE, _EDGE + _STEP / 2, _STEP)
_ERF = np.array([math.erf(point) for point in _GRID])
_SLOPE = 2 / math.sqrt(math.pi) * np.exp(-(_GRID**2))


def erf(x: FloatArray) -> FloatArray:
    """The error function, within 1e-10 before it is rounded to the dtype of ``x``."""
    if namespace(x) is not np:
        return x.erf()
    clipped = np.clip(x.astype(np.float64), -_EDGE, _EDGE)
    index = np.rint((clipped + _EDGE) / _STEP)
    # A NaN has no nearest point: look anything up, the NaN in `h` carries through.
    index = np.nan_to_num(index, nan=0.0).astype(np.intp)
    x0 = _GRID[index]
    h = clipped - x0
    series = h * (1 - h * (x0 - h * ((2 * x0**2 - 1) / 3 - h * (2 * x0**3 - 3 * x0) / 6)))
    return (_ERF[index] + _SLOPE[index] * series).astype(x.dtype)
