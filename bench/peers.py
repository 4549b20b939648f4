"""One encoder layer of BERT-base with Quad and 2Quad: Veilform beside other systems, in one run.

    python bench/peers.py --crypten-python PYTHON --spu-python PYTHON --prix-python PYTHON
    python bench/peers.py --json bench/results/peers.json        and the figures as JSON

Each peer has a Python of its own, given by an option or in VEILFORM_PEER_CRYPTEN, _SPU and _PRIX;
one without is left out. docs/benchmarks.md says how to install them. All run on this machine, one
at a time, in turn, as often as --rounds says; the figures are medians over all runs.

A peer's figure is one layer. Of Veilform it is the total, offline and online, of a model of one
layer (with the embedding's entry, pooling and head, which the peers leave out), and the marginal
layer: what three layers take more than one, halved.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from veilform.bench import machine

PROGRAMS = Path(__file__).parent / "peers"
PEERS = {
    "crypten": ("crypten", "crypten_encoder.py", []),
    "spu-semi2k": ("spu", "spu_encoder.py", ["--protocol", "SEMI2K"]),
    "spu-aby3": ("spu", "spu_encoder.py", ["--protocol", "ABY3"]),
    "prix-crypten": ("prix", "prix_encoder.py", []),
}
LAYERS = (1, 3)
LIMIT_S = 1800
Figures = dict[str, Any]


def run(command: list[str]) -> Figures | str:
    """The last line or document of JSON that a program prints, or why there is none."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=LIMIT_S, cwd=PROGRAMS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"])[-1]
    return json.loads(done.stdout[done.stdout.index("{") :])


def commands(options: argparse.Namespace) -> dict[str, list[str]]:
    """What one round runs, by name."""
    shared = ["--seq", str(options.seq), "--runs", str(options.runs)]
    ours = [
        sys.executable,
        "-m",
        "veilform",
        "bench",
        "inference",
        "--shape",
        "bert-base",
        "--json",
    ]
    found = {f"veilform-{n}": [*ours, "--layers", str(n), *shared] for n in LAYERS}
    for name, (environment, program, more) in PEERS.items():
        python = getattr(options, f"{environment}_python")
        if python:
            found[name] = [python, str(PROGRAMS / program), *more, *shared]
    return found


def measure(options: argparse.Namespace, console: Console) -> Figures:
    """All rounds, and their medians."""
    wanted = commands(options)
    answers: defaultdict[str, list[Figures]] = defaultdict(list)
    failed: dict[str, str] = {}
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=options.rounds * len(wanted))
        for _ in range(options.rounds):
            for name, command in wanted.items():
                progress.update(task, description=name)
                answer = run(command) if name not in failed else failed[name]
                if isinstance(answer, str):
                    failed[name] = answer
                else:
                    answers[name].append(answer)
                progress.advance(task)
    for name in (f"veilform-{n}" for n in LAYERS):
        if name in failed:
            raise SystemExit(f"{name}: {failed[name]}")
    return {
        "machine": machine.describe(),
        "seq": options.seq,
        "rounds": options.rounds,
        "runs_a_round": options.runs,
        **summary(answers),
        "failed": failed,
    }


def summary(answers: dict[str, list[Figures]]) -> Figures:
    """Medians, the marginal layer, and how many times longer each peer takes."""
    one, more = (answers[f"veilform-{n}"] for n in LAYERS)

    def median(rows: list[Figures], name: str) -> float:
        return statistics.median(row[name] for row in rows)

    ours: Figures = {}
    for phase in ("online", "offline"):
        single, several = (median(rows, f"{phase}_seconds") for rows in (one, more))
        ours[f"{phase}_seconds"] = round(single, 4)
        ours[f"{phase}_seconds_a_layer"] = round((several - single) / (LAYERS[1] - LAYERS[0]), 4)
    total = ours["online_seconds"] + ours["offline_seconds"]
    layer = ours["online_seconds_a_layer"] + ours["offline_seconds_a_layer"]
    ours |= {"total_seconds": round(total, 4), "total_seconds_a_layer": round(layer, 4)}
    for name in ("bytes_client_to_server", "bytes_server_to_client", "offline_bytes", "messages"):
        ours[name] = one[0][name]
    peers = []
    for name in PEERS:
        rows = answers.get(name, [])
        if not rows:
            continue
        seconds = [s for row in rows for s in row["seconds"]]
        took = statistics.median(seconds)
        peers.append(
            {
                **{k: v for k, v in rows[0].items() if k not in ("seconds", "seq")},
                "seconds": round(took, 4),
                "seconds_range": [min(seconds), max(seconds)],
                "max_error": max(row["max_error"] for row in rows),
                "times_our_total": round(took / total, 2),
                "times_our_total_a_layer": round(took / layer, 2),
                "times_our_online_a_layer": round(took / ours["online_seconds_a_layer"], 2),
            }
        )
    return {"veilform": ours, "peers": peers}


def show(figures: Figures) -> None:
    ours = figures["veilform"]
    table = Table("", "seconds a layer", "times ours", title=f"{figures['seq']} tokens")
    table.add_row("veilform, a layer more", f"{ours['total_seconds_a_layer']:.3f}", "1")
    table.add_row("  of it online", f"{ours['online_seconds_a_layer']:.3f}", "")
    table.add_row("veilform, one layer and the rest", f"{ours['total_seconds']:.3f}", "")
    for peer in figures["peers"]:
        ratio = f"{peer['times_our_total_a_layer']:.1f}"
        table.add_row(peer["peer"], f"{peer['seconds']:.3f}", ratio)
    for name, reason in figures["failed"].items():
        table.add_row(name, "failed", reason[:60])
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for environment in dict.fromkeys(environment for environment, *_ in PEERS.values()):
        variable = f"VEILFORM_PEER_{environment.upper()}"
        parser.add_argument(
            f"--{environment}-python",
            default=os.environ.get(variable),
            help=f"a Python that has it (default: {variable})",
        )
    parser.add_argument("--seq", type=int, default=128, help="tokens (default 128)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of all (default 3)")
    parser.add_argument("--runs", type=int, default=1, help="timed runs a turn (default 1)")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    if not any((options.crypten_python, options.spu_python, options.prix_python)):
        print("skipped: no peer's Python is given; see --help")
        return
    # Without the interpreters: they are folders of this machine.
    command = "python bench/peers.py" + "".join(
        f" --{name} {getattr(options, name)}" for name in ("seq", "rounds", "runs")
    )
    figures = {"command": command, **measure(options, Console(stderr=True))}
    show(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
