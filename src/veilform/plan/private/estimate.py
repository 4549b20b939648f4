"""One inference as planned: seconds by operation, bytes, messages, dollars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from veilform.models.sides import ServerSide, Shape
from veilform.plan.cost import Report
from veilform.plan.private import offline
from veilform.plan.private.clocks import Timed, run_seconds
from veilform.plan.private.machine import Machine
from veilform.plan.private.money import Dollars, Prices, dollars
from veilform.plan.private.rehearse import rehearse
from veilform.plan.two_settings import viewed_seconds
from veilform.protocol.cost import Cost
from veilform.transport.links import Link

LINEAR = "linear"
"""The operation of an image model's convolutions."""
WEIGHTS = ""
"""A manifest names the masked weights that it is for; how many bytes it asks for does not change
with them."""


@dataclass(frozen=True)
class Estimate:
    """What one run will take. Bytes and messages are exact; seconds are of a calibrated machine.

    Attributes:
        online: from the input to the answer.
        offline_seconds: from the order of a stock until both parties have it ready.
        report: bytes, messages and multiply-adds.
    """

    online: Timed
    offline_seconds: float
    report: Report
    dollars: Dollars

    def by_operation(self) -> list[tuple[str, float, float, Cost]]:
        """Each operation's computing, waiting and cost; the slowest first."""
        costs = {name: cost for name, _, cost in self.report.by_operation()}
        rows = [
            (name, seconds, self.online.waiting[name], costs.get(name, Cost()))
            for name, seconds in self.online.computing.items()
        ]
        return sorted(rows, key=lambda row: -row[1] - row[2])

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "online_seconds": round(self.online.seconds, 6),
            "offline_seconds": round(self.offline_seconds, 6),
            "dollars": {
                "computing": self.dollars.computing,
                "egress": self.dollars.egress,
                "total": self.dollars.total,
            },
            "operations": {
                name: {
                    "computing_seconds": round(computing, 6),
                    "waiting_seconds": round(waiting, 6),
                    **cost._asdict(),
                }
                for name, computing, waiting, cost in self.by_operation()
            },
            "cost": self.report.as_dict(),
        }


def estimate(
    side: ServerSide,
    shape: Shape,
    machine: Machine,
    link: Link,
    prices: Prices | None = None,
    *,
    apart: bool = False,
) -> Estimate:
    """What a run of a model will take over a link between each two parties.

    Args:
        apart: the parties have a machine each, as fast as ``machine``.

    Raises:
        InputError: the model is not served at this length.
    """
    trace = side.trace(shape)
    report = Report(trace)
    online = run_seconds(rehearse(side.program(shape).abstract), machine, link, apart=apart)
    views = viewed_seconds(side, shape.batch)
    if views:
        online = online.longer(LINEAR, views)
    manifest = side.manifest(shape, WEIGHTS)
    before = offline.offline_seconds(offline.work(manifest, trace), manifest, machine, link)
    before += 2 * views  # the client's and the dealer's
    moved = report.up_bytes + report.down_bytes + trace.total.offline_bytes
    paid = dollars(online.seconds, before, moved, prices or Prices())
    return Estimate(online, before, report, paid)
