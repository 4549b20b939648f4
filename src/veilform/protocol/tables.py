"""Piecewise linear tables over the calibrated range of a value.

A table has 2^n cells of 2^low units each. An opened index is a cell or the one below (see
``open_index``), so the line of cell j is fitted to cells j and j + 1 together; then either index
gives a good answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from veilform.errors import ModelError
from veilform.ring import WORD, Words

Real = npt.NDArray[np.float64]

MOST_BITS = 16
"""2^16 cells cost 2^18 AES blocks an element: the most that a small vector should pay."""


CHECK_BITS = 10
"""A check of more cells is done by several."""


class Check(NamedTuple):
    """A coarse look-up: ``bits`` bits from bit ``low``; all is well at -1, 0, 1 and 2 alone.

    It sees each input from four of its cells up, and each below minus one, as far as 2^bits cells
    go round; the last cell goes by -1.
    """

    low: int
    bits: int

    @property
    def column(self) -> Words:
        """(2^bits, 1): 1 where the input is beyond the window."""
        column = np.ones((2**self.bits, 1), np.uint64)
        column[[0, 1, 2, -1]] = 0
        return column


def checks_beyond(window: int, bound: int) -> tuple[Check, ...]:
    """Checks for a table whose window ends at 2^window, for inputs of at most ``bound`` either way.

    The first has a quarter of the window for its cell, where the table itself knows the last
    quarter. Each further one has an eighth of the one before: what goes round there is seen here.
    The last has a bit more than the bound needs, so nothing goes round.
    """
    checks, low = [], window - 2
    while True:
        needed = max(3, (bound >> low).bit_length() + 1)
        checks.append(Check(low, min(needed, CHECK_BITS)))
        if needed <= CHECK_BITS:
            return tuple(checks)
        low += CHECK_BITS - 3


@dataclass(frozen=True)
class Table:
    """What both parties look up in. Public: it follows from the calibrated range.

    Attributes:
        multiplier: the input is multiplied by it, to fill the window.
        low, bits: the index is ``bits`` bits of the scaled input, from bit ``low``.
        columns: (2^bits, 3): intercept, slope, and 1 where the input is out of range.
        checks: coarse look-ups that see inputs beyond the window, up to the bound.
        scale: fraction bits of the output.
        error: largest relative error of the output over the range.
        ring: bits of the ring of the input, and of the output.
        lowest, highest: the range, in units of the unscaled input. Within it an input never counts
            as out of range; two cells or more beyond it, up to the bound, it always does.
    """

    multiplier: int
    low: int
    bits: int
    columns: Words
    checks: tuple[Check, ...]
    scale: int
    error: float
    lowest: int
    highest: int
    ring: int


def fit(
    function: Callable[[Real], Real],
    lowest: int,
    highest: int,
    bound: int,
    *,
    tolerance: float = 2.0**-11,
    magnitude: float | None = None,
    bits: int | None = None,
    ring: int = WORD,
) -> Table:
    """The smallest table for ``function`` on [lowest, highest] with errors within ``tolerance``.

    Args:
        function: real values of the input, in its own integer units, to real outputs.
        lowest, highest: the range that is answered; 0 < lowest < highest.
        bound: |input| never exceeds this, whatever happens.
        magnitude: what the error is relative to; by default the output itself.
        bits: fixes the number of index bits.
        ring: bits of the input's ring; |input| must be below 2^(ring - 2).

    Raises:
        ModelError: when no table of 2^16 cells is good enough, or the bound leaves the ring.
    """
    if not 0 < lowest < highest <= bound:
        raise ValueError(f"a range [{lowest}, {highest}] within {bound} makes no sense")
    for n in (bits,) if bits else range(6, MOST_BITS + 1):
        table = _fit(function, lowest, highest, bound, n, magnitude, ring)
        if table and (bits or table.error <= tolerance):
            return table
    raise ModelError(
        f"the range {lowest} to {highest} is too wide for a table of 2^{MOST_BITS} cells; distil "
        "with a stronger range regularisation, or calibrate on texts like those to be served"
    )


def _fit(
    function: Callable[[Real], Real],
    lowest: int,
    highest: int,
    bound: int,
    bits: int,
    magnitude: float | None,
    ring: int,
) -> Table | None:
    limit_bits = ring - 2
    # The window ends at 2^(low + bits). The coarse check lets pass what is a quarter of it below 0
    # and looks like the last quarter to the fine one, or a cell less: the range must end before.
    room = 3 * 2 ** (bits - 2) - 1
    low = max(0, math.ceil(math.log2(8 * highest / room)))
    multiplier = max(1, ((room << low) - 1) // highest)
    while low and multiplier >= 16:
        low, multiplier = low - 1, multiplier // 2
    multiplier = min(multiplier, (2**limit_bits - 1) // bound)
    if not multiplier or low + bits + 2 > limit_bits:
        raise ModelError("a value's bound leaves the ring; lower its scale")
    first = (lowest * multiplier >> low) - 1
    last = highest * multiplier >> low
    if first < 0:
        return None  # 0 and what is below it must not look like the range
    cells = np.arange(2**bits, dtype=np.float64)
    inside = (cells >= first) & (cells <= last)

    step = 2.0**low / multiplier
    start = np.maximum(cells[inside] * step, lowest * 0.5)
    stop = (cells[inside] + 2) * step
    middle, half = (start + stop) / 2, (stop - start) / 2
    # The line through the Chebyshev nodes is within a few per cent of the best line.
    node = half / math.sqrt(2)
    left, right = function(middle - node), function(middle + node)
    slope = (right - left) / (2 * node)
    intercept = (left + right) / 2 - slope * middle

    largest = max(
        float(np.abs(intercept).max()),
        float(np.abs(slope * stop).max()),
        float(np.abs(function(stop)).max()),
        float(np.abs(function(start)).max()),
    )
    scale = limit_bits - 3 - math.ceil(math.log2(largest))
    rounded = np.zeros((2**bits, 2), np.float64)
    rounded[inside, 1] = np.rint(slope * 2.0**scale / multiplier)
    # Fitted after the slope is rounded: that error then grows from the cell's middle, not from 0.
    middle_value = (left + right) / 2 * 2.0**scale
    rounded[inside, 0] = np.rint(middle_value - rounded[inside, 1] * middle * multiplier)
    columns = np.zeros((2**bits, 3), np.uint64)
    columns[:, :2] = rounded.astype(np.int64).view(np.uint64)
    columns[:, 2] = ~inside

    points = np.linspace(start, stop, 9)
    got = (rounded[inside, 0] + rounded[inside, 1] * points * multiplier) * 2.0**-scale
    wanted = function(points)
    error = float((np.abs(got - wanted) / (magnitude or np.abs(wanted))).max())

    return Table(
        multiplier,
        low,
        bits,
        columns,
        checks_beyond(low + bits, bound * multiplier),
        scale,
        error,
        lowest,
        highest,
        ring,
    )


def reciprocal(lowest: int, highest: int, bound: int, tolerance: float = 2.0**-11) -> Table:
    """1 / x for an integer x, as a :class:`Table`."""
    return fit(lambda x: 1.0 / x, lowest, highest, bound, tolerance=tolerance)


def rsqrt(lowest: int, highest: int, bound: int, tolerance: float = 2.0**-11) -> Table:
    """1 / sqrt(x) for an integer x, as a :class:`Table`."""
    return fit(lambda x: 1.0 / np.sqrt(x), lowest, highest, bound, tolerance=tolerance)
