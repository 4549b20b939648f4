"""GELU by a Fourier series between -4 and 4; 0 below and x above.

What GELU has beside x / 2 is even, so cosines do. The period is longer than the interval: then five
of them are enough. Source: Luo et al., SecFormer (ACL 2024 Findings), and Kei and Chow, SHAFT
(NDSS 2025), which have a sine series for erf; the fit here is ours (``protocol/series.py``).
"""

from __future__ import annotations

from veilform.approx.entry import Activation, Elementwise
from veilform.approx.gated import FINE, gated
from veilform.approx.gelu import gelu
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


def series(source: int) -> Series:
    """GELU less x / 2 on the interval, within 0.0014, for x at a scale."""
    orders = tuple(range(1, len(COSINES) + 1))
    sines = (0,) * len(COSINES)
    return Series(PERIOD + source, orders, COSINES, sines, CONSTANT, SCALE, PHASOR)


def _middle(me: Party, x: Preshared, opened: Opened, source: int) -> Protocol[Additive]:
    even = series(source)
    left = even.fraction - source - FINE
    total = yield from evaluate(me, opened, even, x.bits + left)
    return drop(me, total, left)


def secure(me: Party, x: Preshared, plan: Elementwise, checks: list[Checked]) -> Protocol[Additive]:
    """One opening modulo the ring; the series takes it modulo the period."""
    return (yield from gated(me, x, plan, EDGE, _middle))


ENTRY = Activation(
    "fourier-gelu",
    gelu,
    "Luo et al., SecFormer (2024), section 3.2; Kei and Chow, SHAFT (NDSS 2025)",
    reach=lambda x: x,
    secure=secure,
    error=2.0**-9,
    fine=FINE,
)
