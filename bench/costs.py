"""Writes docs/costs.md: what one inference of the shipped student costs, from its trace alone.

python bench/costs.py            writes the page
python bench/costs.py --check    fails if the page is not what would be written
"""

from __future__ import annotations

import sys
from pathlib import Path

import veilform
from veilform.models.bert.sides import ServerSide, Shape
from veilform.models.checkpoint import resolve
from veilform.plan.cost import Report

PAGE = Path(__file__).parents[1] / "docs" / "costs.md"
LENGTHS = (16, 32, 64, 128, 256, 512)
DETAILED = 64


def page(model: str) -> str:
    """The page's text."""
    side = ServerSide(resolve(model), only_calibrated=False)
    layers = side.config.num_hidden_layers
    reports = {n: Report(side.trace(Shape(1, n))) for n in LENGTHS}
    lines = [
        "# Costs of the shipped student",
        "",
        f"One inference of `{model}`, {layers} layers of {side.config.hidden_size}, one text, as",
        "`veilform cost` prints it. These are exact: they follow from the trace, and a run",
        "counts the same bytes on its channel. Online bytes include 16 bytes of frame header a",
        "message; the three columns after them are offline. Written by `python bench/costs.py`.",
        "",
        "## By length",
        "",
        "| tokens | messages | up MB | down MB | online MB | dealer to server MB "
        "| dealer to client MB | client to server MB | server multiply-adds, M |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for length, report in reports.items():
        total = report.trace.total
        sizes = (
            report.up_bytes,
            report.down_bytes,
            report.up_bytes + report.down_bytes,
            total.dealt_server,
            total.dealt_client,
            total.correction,
        )
        cells = " | ".join(f"{size / 1e6:.2f}" for size in sizes)
        work = total.server_multiply_adds / 1e6
        lines.append(f"| {length} | {report.trace.messages} | {cells} | {work:,.0f} |")
    lines += [
        "",
        f"## By protocol, {DETAILED} tokens",
        "",
        "| protocol | runs | up kB | down kB | offline kB | multiply-adds of both, M |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, runs, cost in reports[DETAILED].by_protocol():
        work = (cost.client_multiply_adds + cost.server_multiply_adds) / 1e6
        sizes = (cost.up, cost.down, cost.offline_bytes)
        cells = " | ".join(f"{size / 1e3:,.1f}" for size in sizes)
        lines.append(f"| `{name}` | {runs} | {cells} | {work:,.1f} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    text = page(veilform.DEFAULT_MODEL)
    if "--check" in sys.argv[1:]:
        same = PAGE.read_text(encoding="utf-8") == text
        print(f"{PAGE.name} is {'up to date' if same else 'stale: run python bench/costs.py'}")
        return 0 if same else 1
    PAGE.write_text(text, encoding="utf-8")
    print(f"wrote {PAGE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
