"""NumPy's .npy format from files of others: no pickle, and no size that a file only claims."""

from __future__ import annotations

import io
import math
import tokenize
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from veilform.errors import InputError

_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
# Whatever NumPy's reading of a header raises where it is none.
_BROKEN = (
    ValueError, TypeError, OverflowError, EOFError, SyntaxError, RecursionError, MemoryError,
    tokenize.TokenError,
)  # fmt: skip


def parse(content: bytes, name: str) -> NDArray[Any]:
    """The array of an .npy file's content, of numbers.

    Raises:
        InputError: it is none, is cut off, or holds something else than numbers.
    """
    file = io.BytesIO(content)
    try:
        shape, by_columns, kind = _HEADERS[npy.read_magic(file)](file)
        size = math.prod(shape)
        if kind.kind not in "fiub" or any(axis < 0 for axis in shape):
            raise InputError(f"{name} holds {kind}: give numbers")
        if len(content) - file.tell() != size * kind.itemsize:
            raise InputError(f"{name} has not the {size} numbers that its header tells of")
        flat = np.frombuffer(content, kind, size, file.tell()).copy()
        return flat.reshape(shape, order="F" if by_columns else "C")
    except (KeyError, *_BROKEN):
        raise InputError(f"{name} is no .npy file of numbers") from None
