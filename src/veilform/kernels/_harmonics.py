"""Cosines and sines of multiples of an angle, in integers that are the same on every machine."""

from __future__ import annotations

import numpy as np

from veilform.kernels import _check, reference
from veilform.kernels._check import U64
from veilform.kernels._dispatch import selected

MOST_PERIOD_BITS = 32
MOST_ORDER = 1 << 16
#: Coefficients are below this, and so is the sum of two times a cosine and a sine.
MOST_COEFFICIENT = 1 << 30


def _angles(x: U64, period: int, order: int) -> U64:
    if not 1 <= period <= MOST_PERIOD_BITS:
        raise ValueError(f"a period has 1 to {MOST_PERIOD_BITS} bits, not {period}")
    if not 1 <= order <= MOST_ORDER:
        raise ValueError(f"an order lies in 1..{MOST_ORDER}, not {order}")
    return _check.words("x", x)


def phasor(x: U64, period: int, order: int, scale: int) -> tuple[U64, U64]:
    """2^scale cos t and 2^scale sin t for t = 2 pi order x / 2^period, as signed integers.

    No address and no branch depends on x. They are within 1/2 + 2^(scale - 28) of the real ones.

    Args:
        x: any words; what counts of them is modulo 2^period.
        scale: fraction bits of the results, 2 to 30.

    Raises:
        ValueError: a wrong dtype, or a period, an order or a scale out of range.
    """
    x = _angles(x, period, order)
    if not 2 <= scale <= 30:
        raise ValueError(f"a cosine has 2 to 30 fraction bits, not {scale}")
    at = selected()
    if at.native is None:
        return reference.phasor(x, period, order, scale)
    cos, sin = np.empty_like(x), np.empty_like(x)
    at.native.phasor(at.code, at.threads, cos, sin, x, period, order, scale)
    return cos, sin


def harmonic(
    onto: U64, x: U64, period: int, order: int, a: int, b: int, cos: U64, sin: U64
) -> None:
    """Adds round(a cos t + b sin t) ``cos`` + round(a sin t - b cos t) ``sin`` in place.

    t is as in :func:`phasor`. If ``cos`` and ``sin`` are shares of cos r and sin r, what is added
    is a share of a cos(t - r) + b sin(t - r). All arrays have one shape.

    Raises:
        ValueError: wrong dtypes or shapes, or a period, an order or a coefficient out of range.
    """
    _check.writable("onto", onto)
    x = _angles(x, period, order)
    _check.shape("x", x, onto.shape)
    cos, sin = _check.like("cos", cos, onto.shape), _check.like("sin", sin, onto.shape)
    if max(abs(a), abs(b)) > MOST_COEFFICIENT:
        raise ValueError(f"a coefficient lies within 2^30, not {a} and {b}")
    at = selected()
    if at.native is None:
        reference.harmonic(onto, x, period, order, a, b, cos, sin)
    else:
        at.native.harmonic(at.code, at.threads, onto, x, period, order, a, b, cos, sin)
