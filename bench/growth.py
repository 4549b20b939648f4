"""How time and bytes grow with the text, the layers and the batch, on models of random weights.

    python bench/growth.py                                    tables; an hour or more
    python bench/growth.py --quick                            small sizes, some minutes
    python bench/growth.py --json bench/results/growth.json   and the figures as JSON
    python bench/growth.py --only layers batch                some of the series

Each point is what `veilform bench inference` measures: three processes, TLS over loopback.
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

SIZES = {
    "sequence": (32, 64, 128, 256, 512),
    "layers": (1, 2, 4, 8, 12, 24),
    "batch": (1, 2, 4, 8, 16),
}
QUICK = {"sequence": (32, 64, 128), "layers": (1, 2, 4), "batch": (1, 2, 4)}
SHAPE = {"sequence": "minilm-l6", "layers": "bert-base", "batch": "minilm-l6"}
SEQ = 32
"""Where it is not what grows."""


def settings(series: str, sizes: tuple[int, ...], runs: int) -> list[Setting]:
    shape = preset(SHAPE[series])
    if series == "sequence":
        return [Setting(shape, size, runs=runs) for size in sizes]
    if series == "layers":
        return [Setting(shape.with_layers(size), SEQ, runs=runs) for size in sizes]
    return [Setting(shape, SEQ, batch=size, runs=runs) for size in sizes]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--only", nargs="+", choices=SIZES, default=list(SIZES), metavar="SERIES")
    parser.add_argument("--runs", type=int, default=3, help="timed runs a point (default 3)")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    sizes = QUICK if options.quick else SIZES
    planned = {name: settings(name, sizes[name], options.runs) for name in options.only}
    console = Console(stderr=True)
    found: dict[str, list[dict[str, Any]]] = {}
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=sum(map(len, planned.values())))
        for name, points in planned.items():
            found[name] = []
            for size, setting in zip(sizes[name], points, strict=True):
                progress.update(task, description=f"{name} {size}")
                figures = measure(setting)
                del figures["machine"]
                found[name].append(figures)
                progress.advance(task)
    for name, rows in found.items():
        show(name, sizes[name], rows)
    if options.json:
        machine.save(options.json, "python " + " ".join(sys.argv), found)


def show(name: str, sizes: tuple[int, ...], rows: list[dict[str, Any]]) -> None:
    table = Table(name, "online s", "offline s", "plain s", "online MB", "messages", "server MB")
    for size, row in zip(sizes, rows, strict=True):
        moved = row["bytes_client_to_server"] + row["bytes_server_to_client"]
        table.add_row(
            str(size), f"{row['online_seconds']:.3f}", f"{row['offline_seconds']:.3f}",
            f"{row['plain_seconds']:.4f}", f"{moved / 1e6:.1f}", str(row["messages"]),
            str(row["peak_rss_mb"]["server"]),
        )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    main()
