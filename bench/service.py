"""A thousand private answers in a row, by eight clients at once: are they right, and how fast?

    python bench/service.py                                       one client, then eight
    python bench/service.py --count 100 --clients 1 4             other numbers
    python bench/service.py --gateway                             through one gateway, over HTTP
    python bench/service.py --json bench/results/service.json     and the figures as JSON

The shipped student is served by two processes, server and dealer, over TLS; every client is a
process of its own, or a thread that asks one gateway, and takes the next held-out text when it has
its answer. Each answer is compared with that of plain floating point. Seconds are from the text to
the answer, dealing included.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import multiprocessing
import queue
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from veilform.bench import machine
from veilform.errors import VeilformError
from veilform.gateway.client import GatewayClassifier, GatewayError
from veilform.models.checkpoint import resolve
from veilform.pipeline import DEFAULT_MODEL, PlainClassifier, SecureClassifier, remote_client
from veilform.roles import DEALER, SERVER
from veilform.serve.local import READY, LocalService

FROM = 100
"""Memory is compared with what it was after so many answers."""
PATIENCE_S = 120.0
SESSIONS = 2


class Plain(NamedTuple):
    """A text's label by plain floating point, and how far its probability is from a tie's."""

    label: str
    margin: float


class Told(NamedTuple):
    """A client's answer to a text, or the class of the error that it got."""

    text: int
    label: str
    online_s: float
    whole_s: float


def client(number: int, clients: int, at: dict[str, str], texts: list[str], told: Any) -> None:
    """One client's process: every so many-th text."""
    folder = Path(at["folder"])
    made = remote_client(
        folder / "public", at["server"], at["dealer"], folder / "certificates",
        folder / f"client-stock-{number}",
    )  # fmt: skip
    with SecureClassifier(made) as classifier:
        for index in range(number, len(texts), clients):
            start = time.perf_counter()
            try:
                (answer,) = classifier(texts[index])
                cost = classifier.last_cost
                assert cost is not None
                label, online = str(answer["label"]), cost.online_seconds
            except VeilformError as error:
                label, online = type(error).__name__, 0.0
            told.put(Told(index, label, online, time.perf_counter() - start))


def caller(number: int, clients: int, url: str, texts: list[str], told: Any) -> None:
    """One caller of a gateway: every so many-th text."""
    classifier = GatewayClassifier(url, timeout_s=PATIENCE_S)
    for index in range(number, len(texts), clients):
        start = time.perf_counter()
        try:
            (answer,) = classifier(texts[index])
            label = str(answer["label"])
        except GatewayError as error:
            label = error.code
        seconds = time.perf_counter() - start
        told.put(Told(index, label, seconds, seconds))


@contextlib.contextmanager
def gateway(service: LocalService, clients: int) -> Iterator[tuple[str, int]]:
    """A gateway's address and process. It batches texts that wait, up to one of each client."""
    command = [sys.executable, "-m", "veilform", "gateway", "--listen", "127.0.0.1:0"]
    command += ["--public", f"student={service.public}", "--batch", str(clients)]
    command += ["--server", "{}:{}".format(*service.server)]
    command += ["--dealer", "{}:{}".format(*service.dealer), "--sessions", str(SESSIONS)]
    command += ["--certificates", str(service.certificates), "--until-stdin-closes"]
    command += ["--stock", str(service.folder / "gateway-stock")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        if not line.startswith(READY):
            raise SystemExit("the gateway did not start")
        try:
            yield f"http://{line.removeprefix(READY)}", process.pid
        finally:
            process.communicate(timeout=30)


def rss_mb(pid: int) -> float:
    """Memory that a process has now, in MB of 10^6 bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError("no VmRSS")


def serve(
    clients: int, texts: list[str], plain: list[Plain], through_gateway: bool, progress: Progress
) -> dict[str, Any]:
    """Has the clients ask for all texts, and says how that went."""
    answers: list[Told] = []
    memory: dict[str, dict[str, float]] = {}
    task = progress.add_task(f"{clients} client(s)", total=len(texts))
    with contextlib.ExitStack() as ending:
        service = ending.enter_context(LocalService(resolve(DEFAULT_MODEL)))
        pids = {role.value: service.pid(role) for role in (SERVER, DEALER)}
        if through_gateway:
            url, pids["gateway"] = ending.enter_context(gateway(service, clients))
            told, workers = begin(queue.Queue(), threading.Thread, caller, clients, url, texts)
        else:
            at = {"folder": str(service.folder), "server": "{}:{}".format(*service.server)}
            at |= {"dealer": "{}:{}".format(*service.dealer)}
            context = multiprocessing.get_context("spawn")
            told, workers = begin(context.Queue(), context.Process, client, clients, at, texts)
        started = 0.0
        for one in received(told, workers, len(texts)):
            started = started or time.perf_counter() - one.whole_s
            answers.append(one)
            progress.advance(task)
            if len(answers) in (min(FROM, len(texts)), len(texts)):
                when = "last" if len(answers) == len(texts) else "early"
                memory[when] = {name: rss_mb(pid) for name, pid in pids.items()}
        seconds = time.perf_counter() - started
        for worker in workers:
            worker.join(10)
    return figures(clients, answers, plain, seconds, memory)


def begin(
    told: Any, kind: Any, work: Any, clients: int, at: object, texts: list[str]
) -> tuple[Any, list[Any]]:
    """Starts so many processes or threads that tell what they got."""
    workers = [
        kind(target=work, args=(n, clients, at, texts, told), daemon=True) for n in range(clients)
    ]
    for worker in workers:
        worker.start()
    return told, workers


def received(told: Any, workers: list[Any], count: int) -> Iterator[Told]:
    """What the clients tell, as it comes; ends early if they are silent or gone."""
    for _ in range(count):
        for waited in itertools.count():
            try:
                yield told.get(timeout=5.0)
                break
            except queue.Empty:
                alive = any(worker.is_alive() for worker in workers)
                if not alive or 5.0 * waited > PATIENCE_S:
                    return


def figures(
    clients: int, answers: list[Told], plain: list[Plain], seconds: float, memory: dict[str, Any]
) -> dict[str, Any]:
    """As the table and the JSON have them."""
    labels, margins = zip(*plain, strict=True)
    whole = sorted(one.whole_s for one in answers)
    online = sorted(one.online_s for one in answers)
    growth = {
        name: memory["last"][name] / before - 1
        for name, before in memory.get("early", {}).items()
        if "last" in memory
    }
    return {
        "clients": clients,
        "asked": len(labels),
        "answered": len(answers),
        "wrong": sum(one.label != labels[one.text] for one in answers),
        "wrong_margins": [margins[one.text] for one in answers if one.label != labels[one.text]],
        "a_second": len(answers) / seconds,
        "seconds": {f"p{p}": percentile(whole, p) for p in (50, 95, 99)},
        "online_seconds": {f"p{p}": percentile(online, p) for p in (50, 95, 99)},
        "mean_seconds": statistics.fmean(whole),
        "memory_mb": memory,
        "memory_growth": growth,
    }


def percentile(ordered: list[float], p: int) -> float:
    """The smallest value that at least p % are not above."""
    return ordered[max(0, -(-p * len(ordered) // 100) - 1)]


def texts_and_labels(count: int) -> tuple[list[str], list[Plain]]:
    """Held-out sentences of the shipped student, again and again if they are too few."""
    folder = resolve(DEFAULT_MODEL)
    lines = (folder / "heldout.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines[:count]]
    plain = [
        Plain(str(answer["label"]), round(float(answer["score"]) - 0.5, 5))
        for answer in PlainClassifier(folder)(texts)
    ]
    several = -(-count // len(texts))
    return (texts * several)[:count], (plain * several)[:count]


def main() -> int:
    """Measures; 1 if an answer is missing or wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1000, help="texts (default 1000)")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--gateway", action="store_true", help="through one gateway, over HTTP")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    console = Console(stderr=True)
    texts, plain = texts_and_labels(options.count)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        rows = [
            serve(clients, texts, plain, options.gateway, progress) for clients in options.clients
        ]
    table = Table("clients", "answered", "wrong", "a second", "p50 s", "p95 s", "p99 s", "memory")
    for row in rows:
        grown = ", ".join(f"{name} {part:+.1%}" for name, part in row["memory_growth"].items())
        table.add_row(
            str(row["clients"]), f"{row['answered']} of {row['asked']}", str(row["wrong"]),
            f"{row['a_second']:.2f}", *(f"{v:.2f}" for v in row["seconds"].values()), grown,
        )  # fmt: skip
    Console().print(table)
    if options.json:
        name = "gateway" if options.gateway else "direct"
        command = f"python bench/service.py --count {options.count}"
        known = json.loads(options.json.read_text()) if options.json.is_file() else {}
        others = {key: known[key] for key in ("direct", "gateway") if key in known}
        machine.save(options.json, command, others | {name: rows})
    return int(any(row["wrong"] or row["answered"] < row["asked"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
