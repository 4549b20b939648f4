"""Milliseconds that the gateway adds to an inference: HTTP, JSON, tokens, queue, threads.

    python bench/gateway.py                                    the shipped student's client side
    python bench/gateway.py --json bench/results/gateway.json  and the figures as JSON

The secure computation is replaced by nothing at all, so that what is left is the gateway: requests
one after another on one kept connection, and by 8 callers at once. A request's processor time is
that of gateway and callers together: they are one process here.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import veilform
from veilform.drive.network import Follow
from veilform.gateway.app import build
from veilform.gateway.listening import HttpServer, bind
from veilform.gateway.served import Catalogue, Served
from veilform.models.bert.sides import ClientSide, ServerSide, publish
from veilform.models.checkpoint import resolve
from veilform.models.text import TokenBatch
from veilform.serve.client import InferenceCost
from veilform.serve.pool import Pool
from veilform.serve.sessions import Result

TEXT = "A quiet, generous film that stays with you long after the lights come up."
NOTHING = InferenceCost(0.0, 0.0, 0, 0, 0, 0, {})
WARM = 20
HEADERS = {"Content-Type": "application/json"}
PATHS: dict[str, Any] = {
    "/classify": {"text": TEXT},
    "/v2/models/model/infer": {
        "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [TEXT]}]
    },
}


class NoRun:
    """A session whose runs take no time."""

    def __init__(self, outputs: int) -> None:
        self._outputs = outputs

    def infer(self, batch: TokenBatch, stock: Any, patience_s: float, follow: Follow) -> Result:
        return np.zeros((len(batch.ids), self._outputs)), NOTHING

    def close(self) -> None:
        """Nothing to end."""


def ask(port: int, path: str, count: int) -> list[float]:
    """Milliseconds of each of ``count`` requests on one connection, after some that warm up."""
    body = json.dumps(PATHS[path])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    times = []
    for number in range(count + WARM):
        start = time.perf_counter()
        connection.request("POST", path, body, HEADERS)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path} answered {answer.status}")
        if number >= WARM:
            times.append(1000 * (time.perf_counter() - start))
    connection.close()
    return times


def together(callers: int, work: Callable[[], list[float]]) -> list[float]:
    """What ``work`` gives in so many threads at once."""
    found: list[list[float]] = []
    threads = [threading.Thread(target=lambda: found.append(work())) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [each for one in found for each in one]


def figures(times: Sequence[float]) -> dict[str, float]:
    """Percentiles."""
    low, mid, high = np.percentile(times, [50, 95, 99])
    return {"p50_ms": round(low, 3), "p95_ms": round(mid, 3), "p99_ms": round(high, 3)}


def measure(count: int) -> dict[str, Any]:
    """Every path, by one caller and by eight."""
    with tempfile.TemporaryDirectory() as folder:
        public = Path(folder) / "public"
        publish(ServerSide(resolve("minilm-l6-sentiment")), public)
        side = ClientSide(public)
        pool = Pool(lambda: NoRun(side.config.outputs), side.public.encoder.pad)
        catalogue = Catalogue([Served("model", "1", side, pool)])
        listening = bind("127.0.0.1", 0)
        port = listening.getsockname()[1]
        server = HttpServer(build(catalogue), listening)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            rows = []
            for path in PATHS:
                for callers in (1, 8):
                    start = time.process_time()
                    times = together(callers, lambda path=path: ask(port, path, count))
                    used = 1000 * (time.process_time() - start) / (callers * (count + WARM))
                    row = {"path": path, "callers": callers, **figures(times)}
                    rows.append({**row, "cpu_ms": round(used, 3)})
        finally:
            server.stop()
            thread.join()
            catalogue.close()
    return {
        "command": "python bench/gateway.py",
        "version": veilform.__version__,
        "requests_per_caller": count,
        "rows": rows,
    }


def main() -> int:
    """Prints a table, and writes the JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = measure(options.count)
    table = Table("path", "callers", "p50 ms", "p95 ms", "p99 ms", "CPU ms")
    for row in found["rows"]:
        table.add_row(row["path"], str(row["callers"]), *(f"{row[k]:.2f}" for k in (
            "p50_ms", "p95_ms", "p99_ms", "cpu_ms")))  # fmt: skip
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
