"""Two hundred faults at random moments: does every request end, and is every stock used once?

    python bench/faults.py                                     200 faults, about 20 minutes
    python bench/faults.py --count 20 --seed 7                 fewer
    python bench/faults.py --kinds "connection cut"            only some kinds
    python bench/faults.py --json bench/results/faults.json    and the figures as JSON

Dealer, server, gateway and a direct client serve and ask for the shipped student as processes over
TLS, all the time. A fault is one of: a party is killed and started again where it was; a line
between two parties breaks; the kernel refuses to let a party's stocks grow, for some seconds; a
party's wall clock jumps ahead or back, for some seconds. Then both ways of asking must answer.

Every request must end within its deadline and `GRACE_S`, with the label of plain floating point or
an error that says what is wrong. That no stock was used twice is proved from the ledgers' own
history (faulting/audit.py), and from what the kernel saw of the files (faulting/witness.py).
The seed fixes the faults and their pauses, not what they meet. For Linux; 1 if anything is amiss.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from faulting import audit, figures
from faulting.asking import Askers
from faulting.deployment import Deployment
from faulting.figures import Bounds, Struck
from faulting.parties import NotStarted
from faulting.strikes import KINDS
from faulting.witness import Witness
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from veilform.bench import machine
from veilform.correlation.store import StockStore
from veilform.gateway.client import GatewayClassifier
from veilform.models.checkpoint import resolve
from veilform.pipeline import DEFAULT_MODEL, PlainClassifier
from veilform.roles import CLIENT, SERVER

CALLERS = 2
"""Of the gateway; beside them, one client asks directly."""
DEADLINE_S = 10.0
GRACE_S = 2.0
"""On top of a request's deadline, for its error to travel on two busy cores."""
BACK_S = 60.0
"""The service must answer again so soon after a fault."""
MOMENT_S = 1.0
"""A fault strikes so long after the service answered, at most."""
TEXTS = 40
"""Asked again and again."""
TIE = 0.02
"""Labels of texts whose probabilities are nearer are not compared: fixed point may decide them."""


def strike(
    at: Deployment, askers: Askers, kinds: list[str], count: int, seed: int, progress: Progress
) -> list[Struck]:
    """All faults, each once the service has got over the last one; stops where it does not."""
    chance = random.Random(seed)
    struck: list[Struck] = []
    for kind in progress.track(chance.sample(kinds * -(-count // len(kinds)), count)):
        time.sleep(chance.uniform(0, MOMENT_S))
        began, detail, failed = time.monotonic(), "", ""
        try:
            detail = KINDS[kind](at, chance)
        except NotStarted as error:
            failed = str(error)
        over = time.monotonic()
        back = None if failed else _back_s(askers, over)
        dead = ", ".join(party.name for party in at.parties if not party.alive)
        failed = failed or (f"{dead} died" if dead else "")
        struck.append(Struck(kind, detail, began, over, back, failed))
        if back is None or failed:
            break
    return struck


def _back_s(askers: Askers, over: float) -> float | None:
    """Seconds until the service answered again; None if it did not in time."""
    while not askers.answered_since(over):
        if time.monotonic() > over + BACK_S:
            return None
        time.sleep(0.02)
    return time.monotonic() - over


def texts_and_labels() -> tuple[list[str], list[str | None]]:
    """Held-out sentences, and the labels of those that are not nearly tied."""
    folder = resolve(DEFAULT_MODEL)
    lines = (folder / "heldout.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [str(json.loads(line)["text"]) for line in lines[:TEXTS]]
    plain = PlainClassifier(folder)(texts)
    return texts, [
        str(one["label"]) if abs(2 * float(one["score"]) - 1) > TIE else None for one in plain
    ]


def measure(
    folder: Path, kinds: list[str], count: int, seed: int, progress: Progress
) -> dict[str, Any]:
    """Strikes, and says what came of it."""
    texts, labels = texts_and_labels()
    with contextlib.ExitStack() as ending:
        at = Deployment(folder)
        ending.callback(at.close)
        folders = {name: disk.folder for name, disk in at.disks.items()}
        for name, stock in folders.items():
            StockStore(stock, SERVER if name == "server" else CLIENT).close()
            audit.watch(stock)
        witness = Witness(folders)
        ending.callback(at.stop)
        at.start()
        first = GatewayClassifier(at.url, timeout_s=BACK_S)
        first(texts[0])
        at.client.ask(json.dumps(texts[0]), BACK_S)
        askers = Askers(at.url, at.client, texts, DEADLINE_S, GRACE_S, CALLERS)
        try:
            struck = strike(at, askers, kinds, count, seed, progress)
        finally:
            askers.close()
        # The parties compare their lists once more, when they connect.
        for party in (at.gateway, at.client):
            party.stop()
            party.start()
        first(texts[0])
        at.client.ask(json.dumps(texts[0]), BACK_S)
        at.stop()
        witness.close()
        changes = {name: audit.changes(stock) for name, stock in folders.items()}
    asked = askers.asked
    return {
        "faults": len(struck),
        "requests": len(asked),
        "answered": sum(one.label is not None for one in asked),
        "slowest_s": round(max(one.ended - one.began for one in asked), 2),
        "deadline_s": DEADLINE_S,
        "grace_s": GRACE_S,
        "kinds": figures.rows(struck, asked),
        "stocks": figures.stocks(changes, witness.seen),
        "struck": [[each.kind, each.detail, each.back_s] for each in struck],
        "violations": [
            *figures.of_requests(asked, labels, struck, Bounds(DEADLINE_S, GRACE_S)),
            *figures.of_faults(struck, BACK_S),
            *figures.of_stocks(changes, witness.seen, witness.lost, asked),
        ],
    }


def main() -> int:
    """Strikes; 1 if anything happened that must not."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=200, help="faults (default 200)")
    parser.add_argument("--seed", type=int, default=1, help="of the faults and their pauses")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--keep", type=Path, help="an empty folder for what the parties say")
    options = parser.parse_args()
    console = Console(stderr=True)
    with (
        tempfile.TemporaryDirectory(prefix="veilform-faults-") as temporary,
        Progress(console=console, disable=not console.is_terminal) as progress,
    ):
        folder = options.keep or Path(temporary)
        found = measure(folder, options.kinds, options.count, options.seed, progress)
    show(found)
    if options.json:
        command = f"python bench/faults.py --count {options.count} --seed {options.seed}"
        machine.save(options.json, command, found)
    return int(bool(found["violations"]))


def show(found: dict[str, Any]) -> None:
    """A table, and what must not be."""
    table = Table(
        "fault", "times", "requests", "answered", "errors", "hung", "again after s, p50", "max"
    )
    for row in found["kinds"]:
        errors = ", ".join(f"{n} {code}" for code, n in row["errors"].items())
        back = (row["back_s"] or {}).values()
        numbers = (row["faults"], row["requests"], row["answered"])
        table.add_row(
            row["kind"], *map(str, numbers), errors, str(row["hung"]), *(f"{s:.1f}" for s in back)
        )
    console = Console()
    console.print(table)
    console.print(
        f"{found['requests']} requests, {found['answered']} answered, the slowest "
        f"{found['slowest_s']} s; stocks: {found['stocks']}"
    )
    for each in found["violations"]:
        console.print(each, style="red", markup=False)


if __name__ == "__main__":
    sys.exit(main())
