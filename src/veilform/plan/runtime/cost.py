"""What seconds on accelerators cost: dollars and energy (arXiv 2305.02440)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from veilform.errors import InputError


@dataclass(frozen=True)
class Accelerator:
    """A kind of accelerator.

    Attributes:
        price: dollars an hour for one.
        watts: what one draws at most, by its data sheet; a measured mean is better.
    """

    name: str
    price: float
    watts: float


A100 = Accelerator("A100", price=4.096, watts=400)
V100 = Accelerator("V100", price=3.06, watts=300)
"""On-demand prices of the paper's time; watts of the SXM modules."""


def dollars(seconds: float, accelerators: int = 1, price: float = A100.price) -> float:
    """Idealized dollar cost: ``seconds`` on so many accelerators at ``price`` an hour each.

    Raises:
        InputError: a number is negative or not finite, or there is no accelerator.
    """
    _require(seconds, "seconds")
    _require(price, "the price")
    return seconds * _count(accelerators) * price / 3600


def joules(
    seconds: float, accelerators: int = 1, watts: float = A100.watts, pue: float = 1.0
) -> float:
    """Idealized energy, in joules: 3.6e6 of them are a kWh.

    Args:
        pue: power usage effectiveness of the data centre: all of its power over what reaches its
            machines, so at least 1.

    Raises:
        InputError: as :func:`dollars`, or a PUE below 1.
    """
    _require(seconds, "seconds")
    _require(watts, "watts")
    _require(pue, "the PUE", least=1)
    return seconds * _count(accelerators) * watts * pue


def _require(value: float, what: str, least: float = 0) -> None:
    if not math.isfinite(value) or value < least:
        raise InputError(f"{what} must be a number of at least {least:g}, not {value}")


def _count(accelerators: int) -> int:
    if accelerators < 1:
        raise InputError(f"it takes at least one accelerator, not {accelerators}")
    return accelerators
