"""Ways to multiply matrices of words: what each could reach, and what the kernels do reach.

    python bench/gemm_candidates.py                                             tables
    python bench/gemm_candidates.py --json bench/results/gemm_candidates.json   and JSON

The first table has register tiles on operands in the first cache (gemm_candidates.cpp, built here
by the C++ compiler for this CPU: AVX-512 with IFMA and VNNI is needed). A way that splits words
into limbs needs several of its products for one multiply-add of words. The rates leave out
splitting and joining, so they flatter it:

GCC 12 spills the sums of vpdpbusd, vpdpwssd and FMA in tiles of more than 16; their ideal, 64, 32
and 8 multiply-adds a cycle, is a third above their best tile here, which would not change the order
for 16-bit weights at 48 to 64 bits.

- vpdpbusd: 8-bit limbs by 8-bit digits of the weights, all that fall below the ring's top.
- vpdpwssd, vpmaddwd: weights of 16 bits; 16-bit limbs for the top 32 bits, where a sum may wrap,
  8-bit limbs below, where it must not.
- float64: weights of 16 bits, sums of 2^10 products in 53 bits, so limbs of 28 bits.

The second table has `kernels.matmul` on the shapes of a Transformer, in turn within one loop.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from kernels import best_of, cpu_model, on, words
from rich.console import Console
from rich.table import Table

import veilform
from veilform import kernels

BITS = (64, 56, 52, 48, 40, 32)
SHAPES = [
    (128, 768, 2304), (128, 768, 768), (128, 768, 3072), (128, 3072, 768), (512, 768, 768),
    (2048, 768, 768), (64, 384, 1152), (64, 384, 1536), (32, 384, 1152), (16, 384, 1152),
]  # fmt: skip
HEADS = [(12, 128, 64, 128), (12, 128, 128, 64)]


def products_a_word(name: str, bits: int, weight: int) -> int | None:
    """How many of a way's products one multiply-add of words takes; None: it cannot."""
    limbs = math.ceil(bits / 8)
    if "vpdpbusd" in name:
        return sum(limbs - digit for digit in range(min(limbs, weight // 8)))
    if "vpdpwssd" in name or "vpmaddwd" in name:
        return math.ceil(min(bits, 32) / 16) + math.ceil(max(bits - 32, 0) / 8)
    if "fmadd" in name or "float64" in name:
        return math.ceil(bits / 28)
    if "vpmadd52" in name:
        return 1 if bits <= 52 else None
    if "vpmulld, vpaddd" in name:
        return 1 if bits <= 32 else None
    return 1


def tiles(compiler: str) -> dict[str, tuple[str, float]]:
    """The best shape of each way and its rate."""
    source = Path(__file__).with_suffix(".cpp")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "tiles"
        flags = ["-O3", "-std=c++17", "-march=native", str(source), "-o", str(program)]
        subprocess.run([compiler, *flags], check=True)
        lines = subprocess.run([str(program)], check=True, capture_output=True, text=True)
    best: dict[str, tuple[str, float]] = {}
    for line in lines.stdout.splitlines():
        name, shape, rate = line.split("\t")
        if float(rate) > best.get(name, ("", 0.0))[1]:
            best[name] = shape, float(rate)
    return best


def bench_tiles(compiler: str, rounds: int) -> list[dict[str, Any]]:
    found = tiles(compiler)
    a, b = np.ones((128, 768)), np.ones((768, 2304))
    seconds = best_of({"": lambda: a @ b}, rounds)[""]
    found["NumPy float64 @, 128x768x2304"] = "", a.size * 2304 / seconds
    rows = []
    for name, (shape, rate) in found.items():
        for weight in (16, 8) if "vpdpbusd" in name else (16,):
            counts = {bits: products_a_word(name, bits, weight) for bits in BITS}
            rows.append(
                {
                    "way": name + (f", {weight}-bit weights" if "vpdpbusd" in name else ""),
                    "tile": shape,
                    "products": round(rate / 1e9, 1),
                    "by_bits": {b: c and round(rate / 1e9 / c, 1) for b, c in counts.items()},
                }
            )
    return rows


def bench_products(path: str, threads: int, rounds: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(1)
    kernels.use(path)
    kernels.set_threads(threads)
    rows = []
    for shape in SHAPES + HEADS:
        *batch, m, k, n = shape
        a, b, out = words(*batch, m, k), words(*batch, k, n), np.empty((*batch, m, n), np.uint64)
        operands: dict[str, Any] = {"plain": b}
        if not batch:
            weights = rng.integers(-(2**15), 2**15, (k, n)).astype(np.int32)
            operands |= {"packed words": kernels.pack(b), "16-bit weights": kernels.pack(weights)}
        calls: dict[str, Callable[[], Any]] = {
            f"{operand}, {bits}": on(
                path, lambda a=a, o=o, bits=bits, out=out: kernels.matmul(a, o, bits, out=out)
            )
            for operand, o in operands.items()
            for bits in (64, 48)
        }
        fewer = 4 if a.size * n > 1 << 29 else 1
        work = a.size * n / threads / 1e9
        rates = {name: round(work / s, 1) for name, s in best_of(calls, rounds // fewer).items()}
        rows.append(
            {
                "path": path,
                "threads": threads,
                "shape": "x".join(map(str, shape)),
                "rates": rates,
            }
        )
    return rows


def show(tile_rows: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    console = Console(width=150)
    table = Table("way, G products/s/core", "tile", "", *(f"{b} bits" for b in BITS))
    for r in tile_rows:
        table.add_row(r["way"], r["tile"], *map(str, (r["products"], *r["by_bits"].values())))
    console.print(table)
    names = list(rows[0]["rates"])
    table = Table("path", "threads", "G multiply-adds/s/core", *names)
    for r in rows:
        rates = (str(r["rates"].get(name, "")) for name in names)
        table.add_row(r["path"], str(r["threads"]), r["shape"], *rates)
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare ways to multiply matrices of words.")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--compiler", default="c++")
    options = parser.parse_args()
    tile_rows = bench_tiles(options.compiler, options.rounds)
    rows = [
        row
        for path, threads in (("avx512", 1), ("avx512", 2), ("avx2", 1))
        for row in bench_products(path, threads, options.rounds)
    ]
    show(tile_rows, rows)
    if options.json:
        result = {
            "command": "python bench/gemm_candidates.py --json bench/results/gemm_candidates.json",
            "veilform": veilform.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "cpu": cpu_model(),
            "features": kernels.info()["cpu"],
            "load_average": [round(x, 2) for x in os.getloadavg()],  # others may share the machine
            "rounds": options.rounds,
            "unit": "G multiply-adds/s/core",
            "tiles": tile_rows,
            "products": rows,
        }
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
