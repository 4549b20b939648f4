"""Convolutions in the ring: direct (patches times one matrix) against Winograd's, in one process.

    python bench/convolution.py                                         a table
    python bench/convolution.py --json bench/results/convolution.json   and the figures as JSON

The 3 x 3 layers of ResNet-18 at 224 x 224 pixels and of ResNet-32 at 32 x 32, on uniform words and
normal weights of variance 2 / (9 channels) with 13 fraction bits, packed as the server has them.
Alternatives are measured in turn within one loop, so that a busy moment strikes all; each figure is
the fastest, and holds everything from an image in rows of channels to the next one: patches or
tiles, products, and the way back. Before that, the results are held against each other: they must
be equal to the bit.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import veilform
from veilform import kernels, winograd
from veilform.masks import Patches
from veilform.ring import Words, reduce

SHAPES = (
    ("ResNet-18", 56, 64, 64),
    ("ResNet-18", 28, 128, 128),
    ("ResNet-18", 14, 256, 256),
    ("ResNet-18", 7, 512, 512),
    ("ResNet-32", 32, 16, 16),
    ("ResNet-32", 16, 32, 32),
    ("ResNet-32", 8, 64, 64),
)
SCALE = 13
WAYS = ("direct", "F(2,3)", "F(4,3)")


class Layer:
    """One convolution, by each way, on the same image and kernels."""

    def __init__(self, batch: int, size: int, channels: int, out: int, bits: int) -> None:
        rng = np.random.default_rng(0)
        self.size, self.bits = size, bits
        self.image = rng.integers(0, 2**64, (batch, size, size, channels), np.uint64)
        spread = 2**SCALE * (2 / (9 * channels)) ** 0.5
        weights = np.rint(spread * rng.standard_normal((3, 3, channels, out))).astype(np.int64)
        self.matrix = kernels.pack(weights.reshape(-1, out))
        self.stacks = {
            tile: kernels.pack_stack(_narrow(weights, tile)) for tile in winograd.TRANSFORMS
        }

    def run(self, way: str) -> Words:
        if way == "direct":
            return kernels.matmul(Patches(3, 1, 1).apply(self.image), self.matrix, self.bits)
        tile = int(way[2])
        return winograd.convolve(self.image, self.stacks[tile], tile, 1, self.bits)

    def check(self) -> None:
        direct = self.run("direct")
        for way in WAYS[1:]:
            shift = winograd.TRANSFORMS[int(way[2])].shift
            same = reduce(self.run(way), self.bits) == reduce(direct << np.uint64(shift), self.bits)
            assert same.all(), f"{way} is not the direct convolution"


def _narrow(weights: np.ndarray, tile: int) -> np.ndarray:
    """Transformed kernels; as small signed integers where they are, without an inverse."""
    made = winograd.transform_kernels(weights.view(np.uint64), tile)
    return made.view(np.int64) if winograd.TRANSFORMS[tile].odd == 1 else made


def measure(rounds: int, batch: int, bits: int) -> list[dict[str, Any]]:
    rows = []
    for model, size, channels, out in SHAPES:
        layer = Layer(batch, size, channels, out, bits)
        layer.check()
        took: dict[str, list[float]] = {way: [] for way in WAYS}
        for i in range(rounds + 1):
            for way in WAYS:
                start = time.perf_counter()
                layer.run(way)
                if i:  # the first warms up
                    took[way].append(time.perf_counter() - start)
        ms = {way: round(1e3 * min(times), 3) for way, times in took.items()}
        sizes = {"size": size, "channels": channels, "out": out, "batch": batch, "bits": bits}
        rows.append({"model": model, **sizes, "ms": ms})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bits", type=int, nargs="+", default=[44, 60], help="of the rings")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4], help="images at a time")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    kernels.set_threads(args.threads)
    rows = [row for b in args.batch for bits in args.bits for row in measure(args.rounds, b, bits)]
    print(f"{'layer':44}" + "".join(f"{way:>10}" for way in WAYS) + f"{'faster':>10}")
    for row in rows:
        ms = row["ms"]
        name = f"{row['model']}, {row['size']} x {row['size']} x {row['channels']}"
        name += f", {row['batch']} x, {row['bits']} bits"
        best = ms["direct"] / ms["F(2,3)"], ms["direct"] / ms["F(4,3)"]
        print(f"{name:44}" + "".join(f"{ms[way]:10.2f}" for way in WAYS)
              + f"    {best[0]:.2f}  {best[1]:.2f}")  # fmt: skip
    if args.json:
        about = {
            "command": "python " + " ".join(sys.argv),
            "version": veilform.__version__,
            "kernels": kernels.info(),
            "cpus": os.cpu_count(),
            "machine": platform.machine(),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "rounds": args.rounds,
        }
        args.json.write_text(json.dumps(about | {"layers": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
