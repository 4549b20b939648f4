"""Bits: of bounds, of windows, of weights, of what a table's output drops."""

from __future__ import annotations

import math

from veilform.approx.entry import LEAST_BOUND
from veilform.errors import ModelError
from veilform.models.bert.calibration import Range
from veilform.nn.scales import Window
from veilform.protocol.tables import Table

MARGIN = 2.0
"""A range is widened by this factor either way: texts beyond the calibration's are served too."""
WEIGHT_BITS = (10, 14)
"""Fewest and most fraction bits of the weights whose scale is free."""
SIGN = 2
"""Bits of a ring beyond a wire's bound: for its sign, and for lifting it."""


def small_or_free(small: int | None, gain: int, row: float, room: int) -> int:
    """The scale of weights beside a residual's gain.

    Args:
        small: of small integers, whose scale is given; more bits are zeros, and exact.
        gain: that the gain needs.
    """
    if small is None:
        return weight_scale(row, room)
    scale = max(small, gain)
    if scale > room:
        raise ModelError(
            f"a layer norm's input may reach {row:.3g}, which leaves its weights {room} fraction "
            f"bits; its small weights need {scale}. Quantize it with `--layer PATTERN=float` there"
        )
    return scale


def weight_scale(row: float, room: int) -> int:
    """The finest scale of weights for which there is room."""
    scale = min(WEIGHT_BITS[1], room)
    if scale < WEIGHT_BITS[0]:
        raise ModelError(
            f"a layer norm's input may reach {row:.3g}, which leaves its weights {scale} fraction "
            f"bits; at least {WEIGHT_BITS[0]} are needed. Distil with a smaller range"
        )
    return scale


def fewer_limbs(around: int, bits: int, least: int) -> int:
    """Fraction bits of a wire whose ring has ``around`` bits more, for a product of small weights.

    It takes a product of bytes for each 8 bits of the ring: one bit less where that spares one.
    """
    spares = (around + bits) % 8 == 1
    return bits - 1 if spares and bits > least else bits


def shift_to(table: Table, scale: int) -> int:
    """Bits to drop from a table's output to reach ``scale``."""
    shift = table.scale - scale
    if shift < 1:
        raise ModelError("a look-up's range is too wide for its scale; distil with a smaller range")
    return shift


def window_of(lowest: float, highest: float, bound: float) -> Window:
    """A calibrated range with its margins, cut where the weights let no value go."""
    limit = 1 << bits_of(bound)
    window = Window(max(1, math.floor(lowest)), min(math.ceil(highest), limit), limit)
    if window.lowest >= window.highest:
        raise ModelError("a calibrated range is beyond what the weights allow; calibrate again")
    return window


def widened(measured: Range) -> tuple[float, float]:
    """A range with its margins, rounded outwards to five significant bits.

    The scale table is public: it need not tell an extreme value of the owner's texts exactly.
    """
    low, low_exponent = math.frexp(measured.low / MARGIN)
    high, high_exponent = math.frexp(measured.high * MARGIN)
    return (
        math.ldexp(math.floor(low * 32), low_exponent - 5),
        math.ldexp(math.ceil(high * 32), high_exponent - 5),
    )


def bits_of(bound: float) -> int:
    """x for the next power of two, 2^x: a bound need not tell the weights' norms."""
    # Exact, where a logarithm of what lies just above a power of two would be rounded to it.
    mantissa, exponent = math.frexp(bound)
    return exponent - 1 if mantissa == 0.5 else exponent


def bound_of(largest: float) -> int:
    """The same for a function's input, whose ring has room for every window."""
    return max(bits_of(largest), LEAST_BOUND)
