"""What the stand-ins buy: mixes of functions beside GELU and softmax, here and in CrypTen.

    python bench/speedup.py                                    tables; an hour or so
    python bench/speedup.py --only mixes lengths               some of the series
    python bench/speedup.py --json bench/results/speedup.json  and the figures; kept as they come

    mixes    MiniLM-L6, 32 tokens: five mixes, and GELU with softmax
    lengths  MiniLM-L6, 32 to 512 tokens: Quad with 2Quad, and GELU with softmax; at 512 tokens
             one layer besides, as six with softmax take more than a stock may hold
    layer    one layer more of BERT-base, 128 tokens, of both; and CrypTen's, exact, given the
             Python that has it by --crypten-python or VEILFORM_PEER_CRYPTEN

Each point is what `veilform bench inference` measures: three processes, TLS over loopback, random
weights. Within a series the points take turns, as often as --rounds says; figures are medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from veilform.bench import machine
from veilform.bench.inference import Setting, measure
from veilform.errors import VeilformError
from veilform.plan.presets import ModelShape, preset

STUDENT, EXACT = ("quad", "2quad"), ("gelu", "softmax")
MIXES = (STUDENT, ("gelu", "2quad"), ("quad", "softmax"), ("quad", "2relu"), ("gelu", "2relu"))
LENGTHS = (32, 64, 128, 256, 512)
LAYERS = (1, 3)
SERIES = ("mixes", "lengths", "layer")
CRYPTEN = Path(__file__).parent / "peers" / "crypten_encoder.py"
LIMIT_S = 1800
Figures = dict[str, Any]


def points(series: str, runs: int) -> list[Setting]:
    """What one round of a series measures."""
    small, base = preset("minilm-l6"), preset("bert-base")

    def of(shape: ModelShape, mix: tuple[str, str], seq: int) -> Setting:
        return Setting(shape.with_functions(*mix), seq, runs=runs)

    if series == "mixes":
        return [of(small, mix, 32) for mix in (*MIXES, EXACT)]
    if series == "lengths":
        whole = [of(small, mix, seq) for seq in LENGTHS for mix in (STUDENT, EXACT)]
        return whole + [of(small.with_layers(1), mix, LENGTHS[-1]) for mix in (STUDENT, EXACT)]
    return [of(base.with_layers(n), mix, 128) for mix in (STUDENT, EXACT) for n in LAYERS]


def joined(rounds: list[Figures]) -> Figures:
    """One point's figures: medians of what was timed, the rest as counted."""
    first = dict(rounds[0])
    if "refused" in first:
        return first
    for name in ("online_seconds", "offline_seconds", "plain_seconds", "plain_exact_seconds"):
        first[name] = round(statistics.median(row[name] for row in rounds), 5)
    first["online_seconds_by_operation"] = {
        name: round(statistics.median(r["online_seconds_by_operation"][name] for r in rounds), 5)
        for name in first["online_seconds_by_operation"]
    }
    first["rounds"] = len(rounds)
    del first["machine"]
    return first


def run(setting: Setting) -> Figures:
    """One point, or why it is refused."""
    shape = setting.shape
    head = {"shape": shape.name, "seq": setting.seq, "layers": shape.layers,
            "activation": shape.activation, "attention": shape.attention}  # fmt: skip
    try:
        return measure(setting)
    except VeilformError as error:
        return {**head, "refused": str(error).splitlines()[0]}


def crypten(python: str, exact: bool, runs: int) -> Figures | None:
    """CrypTen's layer; None if it fails, which it says."""
    command = [python, str(CRYPTEN), "--seq", "128", "--runs", str(runs)]
    done = subprocess.run(
        [*command, "--exact"] if exact else command,
        capture_output=True, text=True, check=False, timeout=LIMIT_S, cwd=CRYPTEN.parent,
    )  # fmt: skip
    if done.returncode:
        print((done.stderr.strip().splitlines() or ["CrypTen failed"])[-1], file=sys.stderr)
        return None
    return json.loads(done.stdout[done.stdout.index("{") :])


def layer_summary(found: list[Figures], peers: list[Figures]) -> Figures:
    """The marginal layer of either mix: what three layers take more than one, halved."""
    out: Figures = {}
    for name, mix in (("student", STUDENT), ("exact", EXACT)):
        rows = [row for row in found if (row["activation"], row["attention"]) == mix]
        if any("refused" in row for row in rows):
            continue
        one, more = sorted(rows, key=lambda row: row["layers"])

        def marginal(key: str, a: Figures = one, b: Figures = more) -> float:
            return round((b[key] - a[key]) / (LAYERS[1] - LAYERS[0]), 5)

        out[name] = {key: marginal(key) for key in ("online_seconds", "offline_seconds")}
        out[name]["online_seconds_by_operation"] = {
            operation: round((more["online_seconds_by_operation"][operation] - seconds) / 2, 5)
            for operation, seconds in one["online_seconds_by_operation"].items()
        }
    for exact in (False, True):
        seconds = [s for peer in peers if peer["exact"] == exact for s in peer["seconds"]]
        if seconds:
            name = "crypten_exact" if exact else "crypten_student"
            out[name] = {"seconds": round(statistics.median(seconds), 4)}
    return out


def turns(
    series: str, options: argparse.Namespace, progress: Progress
) -> Iterator[tuple[list[Figures], list[Figures]]]:
    """After each round: the points so far, and CrypTen's."""
    wanted = points(series, options.runs)
    rounds: list[list[Figures]] = [[] for _ in wanted]
    peers: list[Figures] = []
    task = progress.add_task(series, total=options.rounds * len(wanted))
    for _ in range(options.rounds):
        for rows, setting in zip(rounds, wanted, strict=True):
            if not (rows and "refused" in rows[0]):
                rows.append(run(setting))
            progress.advance(task)
        if series == "layer" and options.crypten_python:
            for exact in (False, True):
                found = crypten(options.crypten_python, exact, options.runs)
                peers += [{**found, "exact": exact}] if found else []
        yield [joined(rows) for rows in rounds], peers


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=SERIES, default=list(SERIES))
    parser.add_argument("--rounds", type=int, default=2, help="turns of all (default 2)")
    parser.add_argument("--runs", type=int, default=3, help="timed runs a turn (default 3)")
    parser.add_argument("--crypten-python", default=os.environ.get("VEILFORM_PEER_CRYPTEN"))
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    found: Figures = {}
    if options.json and options.json.is_file():
        kept = json.loads(options.json.read_text(encoding="utf-8"))
        found = {name: kept[name] for name in (*SERIES, "summary") if name in kept}
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        for series in options.only:
            for rows, peers in turns(series, options, progress):
                found[series] = rows
                if series == "layer":
                    found["summary"] = layer_summary(rows, peers)
                if options.json:
                    command = f"python bench/speedup.py --rounds {options.rounds}"
                    machine.save(options.json, f"{command} --runs {options.runs}", found)
    table = Table("model", "functions", "tokens", "online s", "offline s", "online MB", "messages")
    for row in (row for series in options.only for row in found[series]):
        head = (f"{row['shape']}, {row['layers']} layers", f"{row['activation']}, "
                f"{row['attention']}", str(row["seq"]))  # fmt: skip
        if "refused" in row:
            table.add_row(*head, row["refused"])
            continue
        moved = (row["bytes_client_to_server"] + row["bytes_server_to_client"]) / 1e6
        table.add_row(*head, f"{row['online_seconds']:.3f}", f"{row['offline_seconds']:.3f}",
                      f"{moved:.1f}", str(row["messages"]))  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    main()
