"""Fourier series of a function on a bounded domain, as integers that both parties hold.

A function that is not periodic is fitted on its domain only, with a period longer than that (a
Fourier extension: Boyd, Journal of Computational Physics 178, 2002; Huybrechs, SIAM J. Numer. Anal.
47, 2010). What the series does in the gap is its own affair, so the error falls geometrically with
the number of harmonics, where that of the function's own Fourier series would fall like its
smoothness at the seam allows.

Fits are made once, in floating point, and rounded. What the parties evaluate is data, bound like
any other scale: a fit repeated by each of them could differ in a last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from veilform.errors import ModelError
from veilform.kernels import MOST_COEFFICIENT, MOST_ORDER, MOST_PERIOD_BITS

Real = npt.NDArray[np.float64]

MOST_HARMONICS = 64
FINEST_PHASOR = 28
"""Fraction bits of a cosine that are right, of the 30 that kernels compute with."""


class Series(msgspec.Struct, frozen=True):
    """f(x) = constant + sum_k cosines_k cos(orders_k w x) + sines_k sin(orders_k w x).

    Attributes:
        period: w = 2 pi / 2^period.
        orders: the k, from 1, ascending.
        cosines, sines, constant: integers with ``scale`` fraction bits.
        phasor: fraction bits of the dealer's cosines and sines; so results have ``fraction``.
    """

    period: int
    orders: tuple[int, ...]
    cosines: tuple[int, ...]
    sines: tuple[int, ...]
    constant: int
    scale: int
    phasor: int

    def __post_init__(self) -> None:
        ascending = all(a < b for a, b in zip((0, *self.orders), self.orders, strict=False))
        fits = len(self.orders) == len(self.cosines) == len(self.sines) and ascending
        if not (fits and 0 < len(self.orders) <= MOST_HARMONICS and self.orders[-1] <= MOST_ORDER):
            raise ValueError("a series has 1 to 64 ascending orders, and coefficients for each")
        largest = max(map(abs, (*self.cosines, *self.sines)))
        if largest > MOST_COEFFICIENT or not 1 <= self.period <= MOST_PERIOD_BITS:
            raise ValueError("a coefficient or the period of the series is too large")
        if not (2 <= self.phasor <= FINEST_PHASOR and 0 <= self.scale <= 40):
            raise ValueError("the fraction bits of the series are out of range")

    @property
    def fraction(self) -> int:
        """Fraction bits of f(x) as it leaves the sum."""
        return self.scale + self.phasor

    @property
    def rounding(self) -> float:
        """How far f(x) as computed may be from this series in real numbers."""
        # A term is a product of pairs, (a, b) turned by the angle of y and (cos, sin) of rho, both
        # rounded by half a unit an entry; the latter has length 1.
        lengths = sum(math.hypot(a, b) for a, b in zip(self.cosines, self.sines, strict=True))
        half, fine = math.sqrt(0.5), 2.0**-self.phasor
        terms = len(self.orders) * (half + fine)
        return 2.0**-self.scale * (terms + lengths * (half * fine + 2.0 ** (1 - FINEST_PHASOR)))

    def plain(self, x: npt.ArrayLike) -> Real:
        """The series in floating point, for x in units of which 2^period are a period."""
        angle = np.asarray(x, np.float64) * (2 * math.pi / 2**self.period)
        out = np.full(angle.shape, float(self.constant))
        for order, a, b in zip(self.orders, self.cosines, self.sines, strict=True):
            out += a * np.cos(order * angle) + b * np.sin(order * angle)
        return out * 2.0**-self.scale


class Fit(NamedTuple):
    """A series in real numbers: constant + sum_k cosines_k cos(2 pi k x / period), k = 1, 2, ...

    ``error`` is the largest on the domain, [-domain, domain].
    """

    constant: float
    cosines: tuple[float, ...]
    domain: float
    period: float
    error: float

    def series(self, period: int, tolerance: float) -> Series:
        """In integers, for a variable with 2^period units to the period.

        Args:
            tolerance: what rounding may add to the error.

        Raises:
            ModelError: the coefficients are too large to be rounded so well.
        """
        count = len(self.cosines)
        scale = math.ceil(math.log2(4 * count / tolerance))
        lengths = sum(map(abs, self.cosines))
        phasor = max(2, math.ceil(math.log2(2 * lengths / tolerance)))
        rounded = [round(a * 2.0**scale) for a in (self.constant, *self.cosines)]
        if phasor > FINEST_PHASOR or max(map(abs, rounded)) > MOST_COEFFICIENT:
            raise ModelError(
                f"coefficients up to {lengths:.3g} cannot be rounded to {tolerance:.3g}; "
                "shorten the period, or allow a larger error"
            )
        orders = tuple(range(1, count + 1))
        return Series(period, orders, tuple(rounded[1:]), (0,) * count, rounded[0], scale, phasor)


def fit_even(
    function: Callable[[Real], Real], domain: float, period: float, tolerance: float
) -> Fit:
    """The fewest harmonics that keep an even function's error on [-domain, domain].

    Least squares on points that crowd at the end of the domain, as the error does.

    Args:
        function: real values from 0 to ``domain``, elementwise; even.
        period: more than twice the domain; 5/2 to 3 times is good: a shorter one needs more
            harmonics, a longer one larger coefficients.
        tolerance: largest absolute error.

    Raises:
        ValueError: the period is no longer than the domain.
        ModelError: more than 64 harmonics would be needed.
    """
    if not 0 < 2 * domain < period:
        raise ValueError(f"a period of {period} leaves no gap beside a domain of +-{domain}")
    nodes = domain * np.sin(np.linspace(0, math.pi / 2, 501))
    between = np.linspace(0, domain, 2001)
    samples, wanted = function(nodes), function(between)
    for count in range(1, MOST_HARMONICS + 1):
        orders = np.arange(count + 1) * (2 * math.pi / period)
        # Columns are nearly dependent: small singular values would only buy large coefficients.
        found = np.linalg.lstsq(np.cos(np.outer(nodes, orders)), samples, rcond=1e-6)[0]
        error = float(np.abs(np.cos(np.outer(between, orders)) @ found - wanted).max())
        if error <= tolerance:
            constant, *cosines = (float(a) for a in found)
            return Fit(constant, tuple(cosines), domain, period, error)
    raise ModelError(
        f"{MOST_HARMONICS} harmonics of a period of {period} do not bring the error on "
        f"+-{domain} to {tolerance:.3g}"
    )
