"""One inference of whole models over each link, beside what the links and the machine allow.

    python bench/models.py                                    a table; about half an hour
    python bench/models.py --json bench/results/models.json   and the figures as JSON
    python bench/models.py --only 0 1                         some of the settings

A row's limit is 1.25 times the larger of computing (the same model's online seconds over loopback)
and bytes over bandwidth, plus its messages times the one-way delay.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from veilform.bench import machine
from veilform.bench.inference import Setting, measure
from veilform.plan.presets import preset
from veilform.transport.links import PRESETS

#: Shape, tokens, link, runs. A shape's loopback comes before its other links.
SETTINGS = (
    ("bert-base", 128, "loopback", 9),
    ("bert-base", 128, "lan", 5),
    ("bert-base", 128, "wan", 3),
    ("bert-large", 128, "loopback", 1),
)


def limit(row: dict[str, Any], compute: float) -> float:
    """The seconds that a link should not exceed."""
    link = PRESETS[row["link"]]
    moved = 8 * (row["bytes_client_to_server"] + row["bytes_server_to_client"])
    whole = 1.25 * max(compute, moved / link.bandwidth_bits_per_s)
    return whole + row["messages"] * link.round_trip_s / 2


def with_limits(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with ``limit_seconds``, where the model was measured over loopback, too."""
    compute = {r["shape"]: r["online_seconds"] for r in rows if r["link"] == "loopback"}
    return [
        row | {"limit_seconds": round(limit(row, compute[row["shape"]]), 3)}
        if row["link"] != "loopback" and row["shape"] in compute
        else row
        for row in rows
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", type=int, nargs="+", help="numbers of settings, from 0")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    chosen = options.only or range(len(SETTINGS))
    rows = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("models", total=len(chosen))
        for number in chosen:
            shape, seq, link, runs = SETTINGS[number]
            progress.update(task, description=f"{shape} over {link}")
            rows.append(measure(Setting(preset(shape), seq, link=link, runs=runs)))
            progress.advance(task)
    rows = with_limits(rows)
    table = Table("model", "link", "online s", "offline s", "plain s", "MB", "messages", "limit s")
    for row in rows:
        moved = row["bytes_client_to_server"] + row["bytes_server_to_client"]
        table.add_row(
            row["shape"], row["link"], f"{row['online_seconds']:.2f}",
            f"{row['offline_seconds']:.2f}", f"{row['plain_seconds']:.3f}",
            f"{moved / 1e6:.0f}", str(row["messages"]), f"{row.get('limit_seconds', '')}",
        )  # fmt: skip
    Console().print(table)
    if options.json:
        command = "python bench/models.py --json bench/results/models.json"
        machine.save(options.json, command, {"models": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
