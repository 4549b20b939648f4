"""Seconds before the input is there: the dealer makes a stock, and both parties prepare theirs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from veilform.correlation.manifest import Manifest
from veilform.correlation.specs import Compare, Curve, Harmonics, Lookup
from veilform.drive.trace import Trace
from veilform.plan.private.machine import Machine, relative_rates
from veilform.roles import CLIENT, SERVER
from veilform.transport.links import Link

KINDS = ("specs", "bytes", "words", "levels", "harmonics", "multiply-adds")
ROUND_TRIPS = 3
"""The order and the stock's number, the server's fetching of its part, the corrections' receipt."""


def work(manifest: Manifest, trace: Trace) -> dict[str, int]:
    """What dealing takes, by kind."""
    levels = harmonics = words = 0
    for spec in manifest.specs:
        words += sum(math.prod(f.shape) for role in (CLIENT, SERVER) for f in spec.fields(role))
        if isinstance(spec, Lookup | Compare):
            levels += spec.count * spec.bits
        elif isinstance(spec, Curve):
            levels += spec.count * (spec.width - spec.low)
        elif isinstance(spec, Harmonics):
            harmonics += math.prod(spec.shape) * len(spec.orders)
    return {
        "specs": len(manifest.specs),
        "bytes": manifest.offline_bytes,
        "words": words,
        "levels": levels,
        "harmonics": harmonics,
        "multiply-adds": trace.dealer_multiply_adds + trace.linear_multiply_adds,
    }


def fit(rows: Sequence[tuple[Mapping[str, int], float]]) -> dict[str, float]:
    """Rates, none negative, that fit relative to the seconds of each row's work."""
    table = np.array([[counted[kind] for kind in KINDS] for counted, _ in rows], np.float64)
    seconds = np.array([s for _, s in rows])
    rates = relative_rates(table, seconds)
    return {kind: float(rate) for kind, rate in zip(KINDS, rates, strict=True)}


def offline_seconds(
    counted: Mapping[str, int], manifest: Manifest, machine: Machine, link: Link
) -> float:
    """Over a link between each two parties. Dealing goes on while parts of it are on their way."""
    computing = sum(machine.offline.get(kind, 0.0) * counted[kind] for kind in KINDS)
    longest = max(manifest.dealt_bytes(role) for role in (CLIENT, SERVER))
    moving = 8 * longest / link.bandwidth_bits_per_s
    after = 8 * manifest.correction_bytes / link.bandwidth_bits_per_s
    return max(computing, moving) + after + ROUND_TRIPS * link.round_trip_s
