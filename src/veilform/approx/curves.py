"""Activations that are curves: a window around zero in equal segments, a line on either side."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from veilform.approx.arrays import FloatArray
from veilform.approx.entry import Elementwise
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
        opened = yield from open_value(me, x)
        found = yield from curve(me, opened, self.table(plan))
        return drop(me, found, plan.source + self.fine - plan.scale)

    def constants(self, plan: Elementwise) -> Sequence[Words]:
        """The lines, which both parties fit in floating point."""
        return (self.table(plan).segments.rows,)

    @functools.cache  # noqa: B019 - there are as many of these as functions
    def table(self, plan: Elementwise) -> tables.Curve:
        """The function for a plan's rings."""
        out = plan.source + self.fine
        return tables.curve(
            self.function,
            -self.edge,
            self.edge,
            left=self.left,
            right=self.right,
            width=plan.bound + plan.source + 2,
            scale=plan.source,
            tolerance=self.error,
            ring=plan.bits + out - plan.scale,
            out=out,
        )
