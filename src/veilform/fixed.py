"""Fixed point: a real number v at scale f is the integer round(v 2^f), in the ring of its wire."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from veilform.errors import RangeError
from veilform.ring import Words

LIMIT_BITS = 62
"""Every signed value lies in (-2^62, 2^62), in whatever ring."""


def encode(values: npt.ArrayLike, scale: int) -> Words:
    """Real numbers as ring elements at ``scale`` fraction bits.

    Raises:
        RangeError: for a value that is not finite, or is 2^62 or more at this scale.
    """
    scaled = np.asarray(values, dtype=np.float64) * 2.0**scale
    # Written so that NaN fails too.
    if not np.all(np.abs(scaled) < 2.0**LIMIT_BITS):
        raise RangeError(
            f"a value is not finite or does not fit a scale of {scale} bits; "
            "check the input and weights"
        )
    return np.rint(scaled).astype(np.int64).view(np.uint64)


def decode(words: Words, scale: int) -> npt.NDArray[np.float64]:
    """Ring elements at ``scale`` fraction bits as real numbers."""
    return words.view(np.int64).astype(np.float64) * 2.0**-scale
