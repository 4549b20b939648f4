"""IDX files of unsigned bytes, as MNIST and its kin have them: magic number, sizes, content."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from veilform.errors import InputError

MOST_BYTES = 1 << 30
_UNSIGNED = 8
"""The format's number of unsigned bytes."""


def read(path: Path, axes: int, most: int = MOST_BYTES) -> NDArray[np.uint8]:
    """The array of a file, gzip (.gz) or not; sizes are big-endian.

    Args:
        most: bytes of content; a file that declares more is not read.

    Raises:
        InputError: it cannot be read, is none with so many axes, or has not what it declares.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            header = file.read(4 + 4 * axes)
            if len(header) < 4 + 4 * axes or header[:4] != bytes([0, 0, _UNSIGNED, axes]):
                raise InputError(f"{path} is no IDX file of bytes with {axes} axes, nor a picture")
            shape = struct.unpack(f">{axes}I", header[4:])
            size = int(np.prod(shape, dtype=object))
            if not size:
                raise InputError(f"{path} holds nothing")
            if size > most:
                raise InputError(f"{path} is over the limit of {most} bytes")
            content = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    if len(content) != size:
        raise InputError(f"{path} has not the {size} bytes that its header tells of")
    return np.frombuffer(content, np.uint8).reshape(shape)
