"""Instructions of each kernel, counted by valgrind: the same on a busy machine and a quiet one.

    python bench/instructions.py                                          a table; some minutes
    python bench/instructions.py --json bench/results/instructions.json   and the figures as JSON

A kernel's count is what two calls in one process take more than one call, on one thread. Valgrind
has no AVX-512, so the AVX2 and the portable path are counted. Needs valgrind (a package of that
name).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from veilform.bench import machine

PATHS = ("avx2", "portable")
SETUP = """
import sys, numpy as np
from veilform import kernels
rng = np.random.default_rng(1)
def words(*shape): return rng.integers(0, 2**64, shape, np.uint64)
"""
#: Name, what is counted per, how many of that a call has, set-up, call.
KERNELS = (
    (
        "product, 16-bit weights, 64 x 384 x 384", "multiply-add", 64 * 384 * 384,
        "a = words(64, 384); b = kernels.pack(rng.integers(-2**15, 2**15, (384, 384)))",
        "kernels.matmul(a, b)",
    ),
    (
        "product, words, 64 x 384 x 384", "multiply-add", 64 * 384 * 384,
        "a = words(64, 384); b = kernels.pack(words(384, 384))",
        "kernels.matmul(a, b)",
    ),
    (
        "square of a lifted value", "element", 1 << 16,
        "y, q, h, qq, qh = (words(1 << 16) for _ in range(5))",
        "kernels.opened_square(y, 40, 64, True, q, h, qq, qh)",
    ),
    (
        "sum, reduced and shifted", "element", 1 << 16,
        "a, b = words(1 << 16), words(1 << 16)",
        "kernels.mix(a, b, bits=49, right=13, then=1)",
    ),
    (
        "look-up in segments, 27 bits, 10 octaves", "key", 64,
        "s = rng.integers(0, 256, (2, 64, 16), np.uint8); p = words(64, 2)\n"
        "alpha = rng.integers(0, 1 << 27, 64, np.uint64)\n"
        "k = kernels.dpf_generate(*s, alpha, p, 27, 27)\n"
        "y = (alpha + np.linspace(200, 100000, 64).astype(np.uint64)) % np.uint64(1 << 27)\n"
        "t = kernels.Segments(128, 131000, 4, 7, words(10 << 7, 2))",
        "kernels.dpf_segments(0, s[0], *k, 27, y, t)",
    ),
)  # fmt: skip


def instructions(path: str, setup: str, call: str, times: int) -> int:
    """Of a process that makes so many calls.

    Raises:
        RuntimeError: valgrind fails, or says nothing.
    """
    program = SETUP + setup + f"\nfor _ in range({times}): {call}\n"
    environment = os.environ | {
        "VEILFORM_KERNELS": path, "VEILFORM_THREADS": "1", "PYTHONHASHSEED": "0",
        "OPENBLAS_NUM_THREADS": "1",
    }  # fmt: skip
    valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    done = subprocess.run(
        [*valgrind, sys.executable, "-c", program],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not found:
        raise RuntimeError(f"valgrind failed: {done.stderr[-400:]}")
    return int(found[1])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    if not shutil.which("valgrind"):
        print("valgrind is not installed: instructions are not counted", file=sys.stderr)
        return 1
    rows = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("valgrind", total=len(PATHS) * len(KERNELS))
        for path in PATHS:
            for name, unit, count, setup, call in KERNELS:
                progress.update(task, description=f"{path}: {name}")
                if path == "portable" and unit == "key":
                    progress.advance(task)  # it has no AES instructions
                    continue
                more = instructions(path, setup, call, 2) - instructions(path, setup, call, 1)
                rows.append({
                    "kernel": name, "path": path, "per": unit, "instructions": more,
                    "instructions_each": round(more / count, 3),
                })  # fmt: skip
                progress.advance(task)
    table = Table("kernel", "path", "instructions", "per")
    for row in rows:
        table.add_row(row["kernel"], row["path"], str(row["instructions_each"]), row["per"])
    Console().print(table)
    if options.json:
        command = "python bench/instructions.py --json bench/results/instructions.json"
        machine.save(options.json, command, {"kernels": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
