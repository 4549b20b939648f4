"""The planner beside the stopwatch: predicted and measured seconds of shapes, lengths and links.

    python bench/planner.py                                        some hours
    python bench/planner.py --shapes minilm-l6 --links lan         some of it
    python bench/planner.py --json bench/results/planner.json      and the figures, as they come
    python bench/planner.py --again --json ...                     all of them once more

What was measured is the fastest run: what else a machine does only adds to it. With --again, a row
keeps the fastest of its earlier and its new runs, whichever they are.

Bytes and messages must be equal, or it fails. Rates are those of `veilform bench machine`, given
by --machine; it measures other models than these.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from veilform.bench import machine
from veilform.bench.inference import Setting, measure
from veilform.models.bert.sides import Shape
from veilform.models.text import bucket
from veilform.plan.presets import ModelShape, preset
from veilform.plan.private.estimate import estimate
from veilform.plan.private.machine import Machine
from veilform.plan.random_model import random_side
from veilform.transport import links

# A whole BERT-large takes minutes to start: its first layers tell as much.
SHAPES = {
    "minilm-l6": preset("minilm-l6"),
    "bert-base": preset("bert-base"),
    "bert-large-l4": preset("bert-large").with_layers(4),
    "minilm-l6-exact": preset("minilm-l6").with_functions("gelu", "softmax"),
}
LENGTHS = (16, 32, 64, 128)
LINKS = ("loopback", "lan", "wan")
EXACT = ("bytes_client_to_server", "bytes_server_to_client", "messages", "offline_bytes")


def point(shape: ModelShape, length: int, link: str, rates: Machine, runs: int) -> dict[str, Any]:
    """One row: what was planned, and what was measured."""
    side = random_side(shape, length)
    found = estimate(side, Shape(1, bucket(length)), rates, links.named(link))
    measured = measure(Setting(shape, length, link=link, runs=runs), plain="numpy")
    planned = found.report.as_dict()
    for name in EXACT:
        assert measured[name] == planned[name], f"{name}: {measured[name]} and {planned[name]}"
    return {
        "seq": length,
        "link": link,
        "online_predicted": round(found.online.seconds, 5),
        "online_measured": measured["best_online_seconds"],
        "online_median": measured["online_seconds"],
        "offline_predicted": round(found.offline_seconds, 5),
        "offline_measured": measured["best_offline_seconds"],
        "offline_median": measured["offline_seconds"],
        "runs": runs,
        **{name: measured[name] for name in EXACT},
    }


def key(row: dict[str, Any]) -> tuple[str, int, str]:
    """What a row is of."""
    return row["shape"], row["seq"], row["link"]


def faster(new: dict[str, Any], old: dict[str, Any] | None = None) -> dict[str, Any]:
    """The fastest run of both rows, in each phase; bytes and messages are equal."""
    row = dict(new)
    if old is not None:
        assert all(old[name] == new[name] for name in EXACT)
        row["runs"] += old["runs"]
        for phase in ("online", "offline"):
            row[f"{phase}_measured"] = min(each[f"{phase}_measured"] for each in (old, new))
    for phase in ("online", "offline"):
        error = row[f"{phase}_predicted"] / row[f"{phase}_measured"] - 1
        row[f"{phase}_error"] = round(error, 4)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES)[:3])
    parser.add_argument("--lengths", nargs="+", type=int, default=list(LENGTHS))
    parser.add_argument("--links", nargs="+", choices=LINKS, default=list(LINKS))
    parser.add_argument("--machine", type=Path, help="by `veilform bench machine`")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--again", action="store_true", help="measure known rows, too")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rates = Machine.load(options.machine)
    command = f"python bench/planner.py --runs {options.runs}"
    rows: list[dict[str, Any]] = []
    if options.json and options.json.exists():
        rows = json.loads(options.json.read_text())["rows"]
    known = {key(row) for row in rows}
    wanted = [
        (name, length, link)
        for name in options.shapes
        for length in options.lengths
        for link in options.links
        if options.again or (name, length, link) not in known
    ]
    with Progress(console=Console(stderr=True)) as progress:
        for each in progress.track(wanted, description="planned and measured"):
            row = {"shape": each[0], **point(SHAPES[each[0]], *each[1:], rates, options.runs)}
            at = next((n for n, old in enumerate(rows) if key(old) == each), len(rows))
            rows[at : at + 1] = [faster(row, *rows[at : at + 1])]
            if options.json:
                figures = {"rates": rates.name, "rows": rows}
                machine.save(options.json, command, figures)
    show(rows)


def show(rows: list[dict[str, Any]]) -> None:
    """A table, and the largest errors."""
    table = Table("shape", "tokens", "link", "online", "measured", "error", "offline", "error")
    for row in rows:
        table.add_row(
            row["shape"], str(row["seq"]), row["link"], f"{row['online_predicted']:.3f} s",
            f"{row['online_measured']:.3f} s", f"{100 * row['online_error']:+.1f} %",
            f"{row['offline_predicted']:.3f} s", f"{100 * row['offline_error']:+.1f} %",
        )  # fmt: skip
    Console().print(table)
    worst = max(abs(row["online_error"]) for row in rows)
    print(f"largest error online: {100 * worst:.1f} %")


if __name__ == "__main__":
    main()
