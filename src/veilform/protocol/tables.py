"""Piecewise linear functions over the calibrated range of a value.

x is read through an index, floor(x / 2^low) or one less (see ``open_index``). Segments of indices
have one line each. They are short relative to where they start, so a function like 1 / x has the
same relative error everywhere, and few segments cover many octaves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from veilform import kernels
from veilform.errors import ModelError
from veilform.kernels import MOST_TREE_BITS, Segments
from veilform.ring import WORD, Words

Real = npt.NDArray[np.float64]
Function = Callable[[Real], Real]

FINER = 3
"""Rows are finer than segments by 2^3: a row serves all segments that start within it."""
FINEST = 10
"""Segments that start at 2^10 of their lengths: the most that a small vector should pay."""


@dataclass(frozen=True)
class Table:
    """What both parties look up in. Public: it follows from the calibrated range.

    Attributes:
        low, bits: the index is ``bits`` bits of the input, from bit ``low``; enough for any input
            within the bound, of either sign.
        segments: intercepts and slopes.
        scale: fraction bits of the output.
        error: largest relative error of the output over the range.
        lowest, highest: the range. Within it an input never counts as out of range; two cells of
            2^low or more beyond it, up to the bound, it always does.
        ring: bits of the ring of the input, and of the output.
    """

    low: int
    bits: int
    segments: Segments
    scale: int
    error: float
    lowest: int
    highest: int
    ring: int


def fit(
    function: Function,
    lowest: int,
    highest: int,
    bound: int,
    *,
    tolerance: float = 2.0**-11,
    magnitude: float | None = None,
    ring: int = WORD,
) -> Table:
    """The coarsest table for ``function`` on [lowest, highest] with errors within ``tolerance``.

    Args:
        function: real values of the input, in its own integer units, to real outputs.
        lowest, highest: the range that is answered; 0 < lowest < highest.
        bound: |input| never exceeds this, whatever happens.
        magnitude: what the error is relative to; by default the output itself.
        ring: bits of the input's ring; |input| must be below 2^(ring - 2).

    Raises:
        ModelError: when no table is good enough, or the bound leaves the ring.
    """
    if not 0 < lowest < highest <= bound:
        raise ValueError(f"a range [{lowest}, {highest}] within {bound} makes no sense")
    if bound.bit_length() > ring - 1:
        raise ModelError(
            "a value's bound leaves the ring: the weights are too large; distil with weight decay"
        )
    for fine in range(2, FINEST + 1):
        table = _fit(function, lowest, highest, bound, fine, magnitude, ring)
        if table and table.error <= tolerance:
            if table.bits > MOST_TREE_BITS:
                break
            return table
    raise ModelError(
        f"no table is good enough for the range {lowest} to {highest} of a value that may reach "
        f"{bound}; distil with a stronger range regularisation, or calibrate on texts like those "
        "to be served"
    )


def _fit(
    function: Function,
    lowest: int,
    highest: int,
    bound: int,
    fine: int,
    magnitude: float | None,
    ring: int,
) -> Table | None:
    grid = fine + FINER
    low = max(0, (lowest - 1).bit_length() - 1 - grid)
    if (lowest >> low) - 1 < 1 << grid:
        low = max(0, low - 1)
    first, last = (lowest >> low) - 1, highest >> low
    if first < 1 << grid:
        return None  # the range begins at too few units to be cut that finely
    start, stop = (2.0**low * edge for edge in _rows(first, last, fine, grid))
    intercept, slope = _lines(function, start, stop)
    used = (stop > lowest) & (start <= highest)
    largest = max(
        float(np.abs(part[used]).max())
        for part in (intercept, slope * stop, function(stop), function(start))
    )
    scale = ring - 5 - math.ceil(math.log2(largest))
    rounded = np.rint(slope * 2.0**scale)
    # Fitted after the slope is rounded: that error then grows from the middle, not from 0.
    middle = (start + stop) / 2
    value = (intercept + slope * middle) * 2.0**scale
    rows = np.stack([np.rint(value - rounded * middle), rounded], axis=1)
    rows[~used] = 0

    points = np.clip(np.linspace(start, stop, 9)[:, used], lowest, None)
    got = (rows[used, 0] + rows[used, 1] * points) * 2.0**-scale
    wanted = function(points)
    error = float((np.abs(got - wanted) / (magnitude or np.abs(wanted))).max())
    bits = (bound >> low).bit_length() + 1
    segments = Segments(first, last, fine, grid, _words(rows))
    return Table(low, bits, segments, scale, error, lowest, highest, ring)


def _rows(first: int, last: int, fine: int, grid: int) -> tuple[Real, Real]:
    """Of each row, in cells: where its earliest segment starts, and where its longest may end.

    A segment that starts below 2^(e+1) has 2^(e-fine) cells at most; one more for the lost carry.
    """
    octaves = np.arange(first.bit_length() - 1, last.bit_length(), dtype=np.float64)
    step = 2.0 ** (octaves[:, None] - grid)
    start = (2**grid + np.arange(2**grid)) * step
    stop = start + step + 2.0 ** (octaves[:, None] - fine)
    return start.reshape(-1), stop.reshape(-1)


def _lines(function: Function, start: Real, stop: Real) -> tuple[Real, Real]:
    """Intercepts and slopes: the line through the Chebyshev nodes is nearly the best one."""
    middle, half = (start + stop) / 2, (stop - start) / 2
    node = half / math.sqrt(2)
    left, right = function(middle - node), function(middle + node)
    slope = (right - left) / (2 * node)
    return (left + right) / 2 - slope * middle, slope


def _words(rows: Real) -> Words:
    return np.ascontiguousarray(rows.astype(np.int64)).view(np.uint64)


def reciprocal(lowest: int, highest: int, bound: int, tolerance: float = 2.0**-11) -> Table:
    """1 / x for an integer x, as a :class:`Table`."""
    return fit(lambda x: 1.0 / x, lowest, highest, bound, tolerance=tolerance)


def rsqrt(lowest: int, highest: int, bound: int, tolerance: float = 2.0**-11) -> Table:
    """1 / sqrt(x) for an integer x, as a :class:`Table`."""
    return fit(lambda x: 1.0 / np.sqrt(x), lowest, highest, bound, tolerance=tolerance)


@dataclass(frozen=True)
class Curve:
    """A function on a window, lines on either side: for every element of a ring, of either sign.

    Attributes:
        width: bits of the ring that the input is opened in.
        low: a cell is 2^low units of the input.
        segments: intercepts and slopes by cells, counted from -2^(width - 1) on.
        scale: fraction bits of the output.
        error: largest absolute error of the output over the window.
        ring: bits of the ring of the output.
    """

    width: int
    low: int
    segments: kernels.Curve
    scale: int
    error: float
    ring: int

    @property
    def bits(self) -> int:
        """Bits of a cell's number."""
        return self.width - self.low


MOST_CAP = 3
"""Rows are finer than segments by 2^3 at most: each finer by 2 is one more level of every key."""
MOST_ROWS = 1 << 16


def curve(
    function: Function,
    first: float,
    last: float,
    *,
    left: tuple[float, float],
    right: tuple[float, float],
    width: int,
    scale: int,
    tolerance: float,
    ring: int,
    out: int,
) -> Curve:
    """The coarsest curve for ``function`` on [first, last] with errors within ``tolerance``.

    Args:
        function: of real values.
        first, last: the window.
        left, right: (intercept, slope) of the line below the window, and of that above it.
        width, scale: bits of the ring of the input, and its fraction bits.
        tolerance: absolute.
        ring, out: bits of the ring of the output, and its fraction bits. Slopes have ``out -
            scale``; eight will do, as an intercept is fitted to its rounded slope.

    Raises:
        ModelError: no table is good enough.
        ValueError: the window does not lie in the ring, or the answer is in a smaller ring.
    """
    half = 1 << (width - 1)
    ends = (first * 2.0**scale + half, last * 2.0**scale + half)
    if not 0 < ends[0] < ends[1] < 2 * half or ring < width or out < scale:
        raise ValueError(f"no curve from {first} to {last} in a ring of {width} bits")
    # Functions need not make sense far beside the window.
    for segment in range(min(width, int(ends[1] - ends[0]).bit_length()) - 1, -1, -1):
        for cap in range(min(segment, MOST_CAP) + 1):
            low = segment - cap
            start, stop = math.floor(ends[0] / 2**low), math.ceil(ends[1] / 2**low)
            if start < 1 or stop > (1 << width - low) - 2:
                continue
            if width - low > MOST_TREE_BITS or stop - start > MOST_ROWS:
                break
            rows, error = _curve(function, start, stop, cap, 2.0**low, half, (scale, out))
            if error <= tolerance:
                sides = [_whole(*side, scale, out) for side in (left, right)]
                rows = np.concatenate([sides[:1], rows, sides[1:]])
                segments = kernels.Curve(start, stop, cap, 1 << width, _words(rows))
                return Curve(width, low, segments, out, error, ring)
    raise ModelError(f"no curve from {first} to {last} comes within {tolerance} at {out} bits")


def _curve(
    function: Function,
    first: int,
    last: int,
    cap: int,
    cell: float,
    half: int,
    scales: tuple[int, int],
) -> tuple[Real, float]:
    """Rows for segments that start in cells first .. last, and the largest error.

    The number found is that of x's cell or one more, so a segment also serves the cell before it.
    """
    scale, out = scales
    start = np.arange(first, last + 1, dtype=np.float64)
    stop = np.minimum(start + 2.0**cap, last + 1)

    def real(cells: Real) -> Real:
        return (cells * cell - half) * 2.0**-scale

    begin, end = real(start - 1), real(stop)
    slope = np.rint(_lines(function, begin, end)[1] * 2.0 ** (out - scale))
    rounded, middle, node = slope * 2.0 ** (scale - out), (begin + end) / 2, (end - begin) / 8**0.5
    value = (function(middle - node) + function(middle + node)) / 2
    intercept = np.rint((value - rounded * middle) * 2.0**out)
    points = np.linspace(begin, end, 9)
    error = np.abs(intercept * 2.0**-out + rounded * points - function(points)).max()
    return np.stack([intercept, slope], axis=1), float(error)


def _whole(intercept: float, slope: float, scale: int, out: int) -> Real:
    return np.rint(np.array([intercept * 2.0**out, slope * 2.0 ** (out - scale)]))
