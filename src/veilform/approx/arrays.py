"""The one array type that plain (not secret) arithmetic speaks of."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.floating[Any]]
"""float32 or float64; a function returns what it was given."""

MaskArray: TypeAlias = NDArray[Any]
"""Ones (or True) where a position holds a token, zeros where it is padding."""
