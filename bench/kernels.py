"""Times of the kernels on this machine, every path against NumPy, in one run.

    python bench/kernels.py                                    a table
    python bench/kernels.py --json bench/results/kernels.json  and the figures as JSON

Each figure is the best of several calls, one thread unless said otherwise; ``--threads`` changes
it. Alternatives are measured in turn within one loop, so that a busy moment strikes all of them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import veilform
from veilform import kernels, prg
from veilform.protocol import tables

MAX = 2**64 - 1
RNG = np.random.default_rng(0)

PRODUCTS = [
    ((64, 384), (384, 1152), "query, key, value"),
    ((64, 384), (384, 1536), "feed-forward, up"),
    ((64, 1536), (1536, 384), "feed-forward, down"),
    ((12, 64, 32), (12, 32, 64), "attention scores, 12 heads"),
    ((12, 64, 64), (12, 64, 33), "attention by values, 12 heads"),
]


def words(*shape: int) -> np.ndarray:
    return RNG.integers(0, MAX, shape, np.uint64, endpoint=True)


def best_of(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Seconds of the fastest call of each, all of them called in every round."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds + 1):  # the first round warms the caches up
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def on(path: str, call: Callable[[], Any]) -> Callable[[], Any]:
    def run() -> None:
        kernels.use(path)
        call()

    return run


def compiled() -> list[str]:
    return [path for path in kernels.available() if path != "reference"]


def bench_matmul(rounds: int) -> list[dict[str, Any]]:
    rows = []
    for left, right, what in PRODUCTS:
        a, b = words(*left), words(*right)
        work = a.size * right[-1]
        calls: dict[str, Callable[[], Any]] = {"numpy": lambda a=a, b=b: np.matmul(a, b)}
        for path in compiled():
            calls[path] = on(path, lambda a=a, b=b: kernels.matmul(a, b))
            if b.ndim == 2:
                kernels.use(path)
                packed = kernels.pack(b)
                calls[f"{path} packed"] = on(path, lambda a=a, p=packed: kernels.matmul(a, p))
        times = best_of(calls, rounds)
        rows += [
            row("matmul", f"{left} @ {right}  {what}", name, seconds, times["numpy"],
                work / seconds / 1e9, "G multiply-adds/s")
            for name, seconds in times.items()
        ]  # fmt: skip
    return rows


def bench_elementwise(rounds: int) -> list[dict[str, Any]]:
    n = 64 * 1536
    y, q, q2, h = words(n), words(n), words(n), words(n).astype(np.uint16)
    cases = {
        "opened_share": lambda: kernels.opened_share(y, 13, 64, True, q, h),
        "opened_square": lambda: kernels.opened_square(y, 13, 64, True, q, h, q2, h),
        "opened_product": lambda: kernels.opened_product(
            y, 13, q2, 13, 64, True, q, h, y, h, q2, h, h, h
        ),
    }
    rows = []
    for name, call in cases.items():
        times = best_of({p: on(p, call) for p in kernels.available()}, rounds)
        rows += [
            row(name, f"{n} elements, narrow words uint16", path, seconds, times["reference"],
                seconds / n * 1e9, "ns an element")
            for path, seconds in times.items()
        ]  # fmt: skip
    return rows


def bench_dpf(rounds: int) -> list[dict[str, Any]]:
    count, n, columns = 768, 12, 3
    seeds = [RNG.integers(0, 256, (count, 16), np.uint8) for _ in range(2)]
    alpha, y = (RNG.integers(0, 2**n, count, np.uint64) for _ in range(2))
    payload, table = words(count, 2), words(2**n, columns)
    keys = kernels.dpf_generate(*seeds, alpha, payload, n)
    cases = {
        "dpf_generate": lambda: kernels.dpf_generate(*seeds, alpha, payload, n),
        "dpf_lookup": lambda: kernels.dpf_lookup(0, seeds[0], *keys, n, y, table),
    }
    rows = []
    for name, call in cases.items():
        rows += keyed(name, f"{count} keys, 2^{n} points, {columns} columns", count, call, rounds)
    return rows


def bench_comparison(rounds: int) -> list[dict[str, Any]]:
    """Of values of 20 bits, as in an inner layer; and GELU within 2^-9 on as many."""
    count, n = 768, 19
    gelu = tables.curve(
        lambda x: 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))), -4.5, 4.5,
        left=(0, 0), right=(0, 1), width=20, scale=12, tolerance=2.0**-9, ring=28, out=20,
    )  # fmt: skip
    seeds = [RNG.integers(0, 256, (count, 16), np.uint8) for _ in range(2)]
    alpha, points = (RNG.integers(0, 2**n, (1, count), np.uint64) for _ in range(2))
    keys = kernels.compare_generate(*seeds, alpha[0], n)
    cell, y = (words(count) >> np.uint64(64 - gelu.bits) for _ in range(2))
    curve = kernels.dpf_generate(*seeds, cell, words(count, 2), gelu.bits, gelu.bits)
    cases = {
        "compare_generate": lambda: kernels.compare_generate(*seeds, alpha[0], n),
        "compare_evaluate": lambda: kernels.compare_evaluate(0, seeds[0], *keys, n, points),
        "dpf_curve": lambda: kernels.dpf_curve(0, seeds[0], *curve, gelu.bits, y, gelu.segments),
    }
    rows = []
    for name, call in cases.items():
        case = "GELU within 2^-9" if name == "dpf_curve" else f"{n} bits"
        rows += keyed(name, f"{count} keys, {case}", count, call, rounds)
    return rows


def keyed(
    name: str, case: str, count: int, call: Callable[[], Any], rounds: int
) -> list[dict[str, Any]]:
    # "portable" has no AES instructions and takes the reference here.
    paths = [path for path in kernels.available() if path not in ("portable", "reference")]
    times = best_of({p: on(p, call) for p in paths}, rounds)
    times = best_of({"reference": on("reference", call)}, 1) | times
    return [
        row(name, case, path, seconds, times["reference"], seconds / count * 1e6, "us a key")
        for path, seconds in times.items()
    ]


def bench_prg(rounds: int) -> list[dict[str, Any]]:
    rows = []
    for count in (1000, 100_000, 4_000_000):
        times = best_of({"aes-ctr": lambda c=count: prg.expand(b"0" * 16, "bench", c)}, rounds)
        rows += [
            row("prg.expand", f"{count} words", path, seconds, seconds,
                8 * count / seconds / 1e9, "GB/s")
            for path, seconds in times.items()
        ]  # fmt: skip
    return rows


def row(
    kernel: str, case: str, path: str, seconds: float, base: float, rate: float, unit: str
) -> dict[str, Any]:
    return {
        "kernel": kernel,
        "case": case,
        "path": path,
        "seconds": float(f"{seconds:.4g}"),
        "rate": float(f"{rate:.4g}"),
        "unit": unit,
        "times_baseline": round(base / seconds, 2),
    }


def cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def show(rows: list[dict[str, Any]]) -> None:
    table = Table("kernel", "case", "path", "ms", "rate", "", "x NumPy")
    for i, r in enumerate(rows):
        last = i + 1 == len(rows) or rows[i + 1]["case"] != r["case"]
        table.add_row(
            r["kernel"], r["case"], r["path"], f"{1e3 * r['seconds']:.3f}", f"{r['rate']:.2f}",
            r["unit"], f"{r['times_baseline']:.1f}", end_section=last,
        )  # fmt: skip
    Console(width=None if sys.stdout.isatty() else 150).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the kernels.")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    kernels.set_threads(options.threads)
    info = kernels.info()
    rows = (
        bench_matmul(options.rounds)
        + bench_elementwise(options.rounds)
        + bench_dpf(max(1, options.rounds // 4))
        + bench_comparison(options.rounds)
        + bench_prg(options.rounds)
    )
    show(rows)
    if options.json:
        result = {
            "command": " ".join(["python", "bench/kernels.py", *sys.argv[1:]]),
            "veilform": veilform.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "cpu": cpu_model(),
            "features": info["cpu"],
            "threads": options.threads,
            "load_average": [round(x, 2) for x in os.getloadavg()],  # others may share the machine
            "rounds": options.rounds,
            "results": rows,
        }
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
