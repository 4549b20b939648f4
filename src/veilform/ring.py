"""The ring Z/2^k on NumPy ``uint64`` arrays.

Arithmetic wraps modulo 2^64 by itself; a smaller ring (k < 64) is used only to enumerate every view
of a protocol in tests, and is reached by reducing after each step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Ring:
    """Z/2^bits, with the two's complement reading of its elements as signed integers."""

    bits: int = 64

    def __post_init__(self) -> None:
        if not 3 <= self.bits <= 64:
            raise ValueError(f"a ring has 3 to 64 bits, not {self.bits}")

    @property
    def offset(self) -> np.uint64:
        """2^(k-2): added to a value in [-2^(k-2), 2^(k-2)) it gives one in [0, 2^(k-1))."""
        return np.uint64(1 << (self.bits - 2))

    def constant(self, value: int) -> np.uint64:
        """An integer, of any sign, as a ring element."""
        return np.uint64(value % (1 << self.bits))

    def reduce(self, x: Any) -> Any:
        """x mod 2^k; free for k = 64."""
        return x if self.bits == 64 else x & np.uint64((1 << self.bits) - 1)

    def msb(self, x: Any) -> Any:
        """The highest of the k bits, as 0 or 1."""
        return x >> np.uint64(self.bits - 1)

    def power(self, exponent: int) -> np.uint64:
        """2^exponent in the ring: 0 from 2^k on."""
        return np.uint64(0) if exponent >= self.bits else np.uint64(1 << exponent)

    def signed(self, x: Words) -> npt.NDArray[np.int64]:
        """The elements as signed integers in [-2^(k-1), 2^(k-1))."""
        spare = np.uint64(64 - self.bits)
        return (x << spare).view(np.int64) >> np.int64(64 - self.bits)


RING64 = Ring(64)
