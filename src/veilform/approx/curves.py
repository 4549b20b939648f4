"""Activations that are curves: a window around zero in equal segments, a line on either side."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from veilform.approx.arrays import FloatArray
from veilform.approx.entry import Elementwise, Scored
from veilform.protocol import tables
from veilform.protocol.curve import curve
from veilform.protocol.effects import Protocol
from veilform.protocol.lookup import Checked
from veilform.protocol.opening import open_value
from veilform.protocol.party import Party
from veilform.protocol.truncate import drop
from veilform.ring import Words
from veilform.values import Additive, Preshared

FINE = 8
"""Fraction bits of a slope: an intercept is fitted to its rounded slope, so few will do."""
TOLERANCE = 2.0**-8
"""Largest error within the window."""


class Lines(NamedTuple):
    """A function from first to last within a tolerance, and (intercept, slope) on either side.

    Slopes have ``fine`` fraction bits.
    """

    function: Callable[[FloatArray], FloatArray]
    first: float
    last: float
    left: tuple[float, float]
    right: tuple[float, float]
    tolerance: float
    fine: int = FINE


def fit(lines: Lines, plan: Elementwise | Scored, width: int) -> tables.Curve:
    """The table of a plan, for inputs in a ring of ``width`` bits."""
    out = plan.source + lines.fine
    return tables.curve(
        lines.function,
        lines.first,
        lines.last,
        left=lines.left,
        right=lines.right,
        width=width,
        scale=plan.source,
        tolerance=lines.tolerance,
        ring=plan.bits + out - plan.scale,
        out=out,
    )


def follow(
    me: Party, x: Additive | Preshared, plan: Elementwise | Scored, table: tables.Curve
) -> Protocol[Additive]:
    """What a table of :func:`fit` makes of x, at the plan's scale, in its ring."""
    opened = yield from open_value(me, x)
    found = yield from curve(me, opened, table)
    return drop(me, found, table.scale - plan.scale)


@dataclass(frozen=True)
class CurvedActivation:
    """A function on [-edge, edge], and the lines beyond it as (intercept, slope)."""

    function: Callable[[FloatArray], FloatArray]
    edge: float
    left: tuple[float, float]
    right: tuple[float, float]
    error: float = TOLERANCE
    fine: int = FINE

    def secure(
        self,
        me: Party,
        x: Preshared,
        plan: Elementwise,
        checks: list[Checked],
    ) -> Protocol[Additive]:
        """The function, by one opening and one look-up."""
        return (yield from follow(me, x, plan, self.table(plan)))

    def constants(self, plan: Elementwise) -> Sequence[Words]:
        """The lines, which both parties fit in floating point."""
        return (self.table(plan).segments.rows,)

    @functools.cache  # noqa: B019 - there are as many of these as functions
    def table(self, plan: Elementwise) -> tables.Curve:
        """The function for a plan's rings."""
        ends = (-self.edge, self.edge, self.left, self.right)
        lines = Lines(self.function, *ends, self.error, self.fine)
        return fit(lines, plan, plan.bound + plan.source + 2)
