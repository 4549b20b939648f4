"""The packed 4-bit product against float32 and INT8, at BERT-base's shapes, in one run.

    python bench/int4.py --json bench/results/int4.json

Times are the best of several calls in turn, on one thread. PyTorch's float32 and INT8 products are
measured where it is installed. Beside the product alone stands the product with what a layer does
before it: quantising and packing float32 activations. Bit operations count a product of an a-bit
by a b-bit integer as a b; instructions are those of the inner loop.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from veilform import kernels  # noqa: E402
from veilform.bench import machine  # noqa: E402
from veilform.kernels.int4 import matmul4, pack4, panels4  # noqa: E402

RNG = np.random.default_rng(0)
SHAPES = [
    ((128, 768, 768), "query, 1 text of 128 tokens"),
    ((512, 768, 768), "query, 4 texts"),
    ((512, 768, 3072), "feed-forward, up, 4 texts"),
    ((512, 3072, 768), "feed-forward, down, 4 texts"),
    ((4096, 768, 768), "query, 32 texts"),
]
# Multiply-adds of an instruction on vectors of 512 bits, and the instructions of the loop that does
# 48 of them: read off the compiled tile for four panels (GCC 12), of which 21 touch the stack.
COUNTED = {
    "float32, vfmadd231ps": {"multiply_adds": 16},
    "4-bit, vpdpbusd": {"multiply_adds": 64, "loop": 108, "of_which_vpdpbusd": 48,
                        "broadcasts": 12, "halves": 12, "moves": 31},
}  # fmt: skip


def best_of(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Seconds of the fastest call of each, all of them called in every round."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds + 1):
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


def candidates(m: int, k: int, n: int) -> dict[str, Callable[[], Any]]:
    """Every way to compute the product (m, k) x (k, n)."""
    a, b = (RNG.integers(-8, 8, shape, np.int8) for shape in ((m, k), (n, k)))
    x, w = a.astype(np.float32), np.ascontiguousarray(b.astype(np.float32).T)
    rows, panels = pack4(a), panels4(b)
    calls: dict[str, Callable[[], Any]] = {"float32, NumPy": lambda: x @ w}
    try:
        import torch
    except ModuleNotFoundError:
        pass
    else:
        torch.set_num_threads(1)
        tx, tw, ta, tb = (torch.from_numpy(v) for v in (x, w, a, np.ascontiguousarray(b.T)))
        calls["float32, PyTorch"] = lambda: tx @ tw
        calls["INT8, PyTorch"] = lambda: torch._int_mm(ta, tb)
    for path in kernels.available():
        if path not in ("reference", "portable"):
            calls[f"4-bit, {path}"] = on(path, lambda: matmul4(rows, panels))
    best = kernels.available()[-1]

    def whole() -> Any:
        q = np.clip(np.rint(x * np.float32(0.5)), -8, 7).astype(np.int8)
        return matmul4(pack4(q), panels)

    calls[f"4-bit, {best}, from float32"] = on(best, whole)
    return calls


def measure(shape: tuple[int, int, int], what: str, rounds: int) -> list[dict[str, Any]]:
    m, k, n = shape
    times = best_of(candidates(m, k, n), rounds)
    base = min(s for name, s in times.items() if name.startswith("float32"))
    bits = {"float32": 32 * 32, "INT8": 64, "4-bit": 16}
    return [
        {
            "shape": [m, k, n],
            "what": what,
            "product": name,
            "seconds": float(f"{s:.4g}"),
            "giga_multiply_adds_a_second": round(m * k * n / s / 1e9, 1),
            "bit_operations": bits[name.split(",")[0]] * m * k * n,
            "times_float32": round(base / s, 2),
        }
        for name, s in times.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    kernels.set_threads(1)
    rows = [row for shape, what in SHAPES for row in measure(shape, what, options.rounds)]
    table = Table("shape", "product", "ms", "G multiply-adds/s", "x best float32")
    for row in rows:
        table.add_row(
            str(tuple(row["shape"])), row["product"], f"{1e3 * row['seconds']:.2f}",
            f"{row['giga_multiply_adds_a_second']:.1f}", f"{row['times_float32']:.2f}",
        )  # fmt: skip
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    if options.json:
        figures = {"rounds": options.rounds, "counted": COUNTED, "results": rows}
        machine.save(options.json, "python bench/int4.py --json FILE", figures)


if __name__ == "__main__":
    main()
