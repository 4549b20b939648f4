"""GELU by a Fourier series between -4 and 4; 0 below and x above.

What GELU has beside x / 2 is even, so cosines do. The period is longer than the interval: then five
of them are enough. Source: Luo et al., SecFormer (ACL 2024 Findings), and Kei and Chow, SHAFT
(NDSS 2025), which have a sine series for erf; the fit here is ours (``protocol/series.py``).
"""

from __future__ import annotations

import math

from veilform.approx.arrays import FloatArray, namespace
from veilform.approx.entry import Activation, Elementwise
from veilform.approx.gated import FINE, gated
from veilform.protocol.effects import Protocol
from veilform.protocol.harmonics import evaluate
from veilform.protocol.lookup import Checked
from veilform.protocol.party import Party
from veilform.protocol.series import Series
from veilform.protocol.truncate import drop
from veilform.values import Additive, Opened, Preshared

EDGE = 4.0
PERIOD = 4
"""log2."""
SCALE, PHASOR = 15, 15
COSINES = (-157242, 71471, -46214, 15375, -5001)
CONSTANT = 121653
"""Over 2^SCALE."""
AWAY = 0.0014
"""Largest distance from GELU."""


def fourier_gelu(x: FloatArray) -> FloatArray:
    """The pieces, elementwise, in the dtype of ``x``."""
    xp = namespace(x)
    angle = x.clip(-EDGE, EDGE) * (2 * math.pi / 2**PERIOD)
    middle = x / 2 + CONSTANT * 2.0**-SCALE
    for order, cosine in enumerate(COSINES, 1):
        middle = middle + cosine * 2.0**-SCALE * xp.cos(order * angle)
    return xp.where(x >= EDGE, x, xp.where(x < -EDGE, xp.zeros_like(x), middle))


def series(source: int) -> Series:
    """What GELU has beside x / 2, for x at a scale."""
    orders = tuple(range(1, len(COSINES) + 1))
    sines = (0,) * len(COSINES)
    return Series(PERIOD + source, orders, COSINES, sines, CONSTANT, SCALE, PHASOR)


def _middle(me: Party, x: Preshared, opened: Opened, source: int) -> Protocol[Additive]:
    even = series(source)
    left = even.fraction - source - FINE
    total = yield from evaluate(me, opened, even, x.bits + left)
    return drop(me, total, left)


def secure(me: Party, x: Preshared, plan: Elementwise, checks: list[Checked]) -> Protocol[Additive]:
    """One opening; the series takes it modulo the period."""
    return (yield from gated(me, x, plan, EDGE, _middle))


ENTRY = Activation(
    "fourier-gelu",
    fourier_gelu,
    "Luo et al., SecFormer (2024), section 3.2; Kei and Chow, SHAFT (NDSS 2025)",
    reach=lambda x: x,
    secure=secure,
    error=2.0**-10,
    fine=FINE,
)
