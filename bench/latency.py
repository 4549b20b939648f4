"""Seconds of one private inference beside the plain one, by padded length, three real processes.

    python bench/latency.py                                    the shipped student
    python bench/latency.py --json bench/results/latency.json  and the figures as JSON

A held-out sentence of each length; private and plain are run in turn, so that a busy
moment of the machine strikes both. Plain is NumPy in float32 with the same threads.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import veilform
from veilform import kernels
from veilform.models.bert.plain import PlainBert
from veilform.models.checkpoint import resolve
from veilform.models.text import bucket
from veilform.serve.local import LocalService

LENGTHS = (16, 32, 64)


def measure(model: str, rounds: int, console: Console) -> dict[str, Any]:
    """Runs every length ``rounds`` times, after one run that warms up."""
    folder = resolve(model)
    plain = PlainBert.load(folder)
    rows = []
    with (
        LocalService(folder) as service,
        service.client() as client,
        Progress(console=console, disable=not console.is_terminal) as progress,
    ):
        task = progress.add_task("runs", total=len(LENGTHS) * (rounds + 1))
        encoder = client.side.public.encoder
        lines = (folder / "heldout.jsonl").read_text(encoding="utf-8").splitlines()
        texts = encoder.encode([json.loads(line)["text"] for line in lines])
        for length in LENGTHS:
            batch = encoder.pad([next(ids for ids in texts if bucket(len(ids)) == length)])
            online, offline, clear = [], [], []
            for _ in range(rounds + 1):
                start = time.perf_counter()
                plain.forward(batch.ids, batch.mask, batch.types)
                clear.append(time.perf_counter() - start)
                _, cost = client.infer(batch)
                online.append(cost.online_seconds)
                offline.append(cost.offline_seconds)
                progress.advance(task)
            rows.append(
                {
                    "tokens": length,
                    "online_seconds": summary(online[1:]),
                    "offline_seconds": summary(offline[1:]),
                    "plain_seconds": summary(clear[1:]),
                    "bytes_client_to_server": cost.bytes_client_to_server,
                    "bytes_server_to_client": cost.bytes_server_to_client,
                    "messages": cost.messages,
                }
            )
    return {
        "command": "python " + " ".join(sys.argv),
        "veilform": veilform.__version__,
        "model": model,
        "rounds": rounds,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
        "kernels": kernels.info(),
        "lengths": rows,
    }


def summary(seconds: list[float]) -> dict[str, float]:
    """Median and best."""
    return {"median": round(statistics.median(seconds), 4), "best": round(min(seconds), 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", default=veilform.DEFAULT_MODEL)
    parser.add_argument("--rounds", type=int, default=15, help="runs of each length (default 15)")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    figures = measure(options.model, options.rounds, Console(stderr=True))
    table = Table("tokens", "online s", "offline s", "plain s", "online MB", "messages")
    for row in figures["lengths"]:
        moved = row["bytes_client_to_server"] + row["bytes_server_to_client"]
        seconds = (row[f"{name}_seconds"]["median"] for name in ("online", "offline", "plain"))
        table.add_row(
            str(row["tokens"]),
            *(f"{s:.3f}" for s in seconds),
            f"{moved / 1e6:.1f}",
            str(row["messages"]),
        )
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
