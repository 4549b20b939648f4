"""Truncates random values by each protocol and counts results off by more than one unit.

    python bench/truncation.py --count 100000000 --json bench/results/truncation.json

Both parties and the dealer run in this process, with the product's ring and kernels. Values are
uniform in [-2^62, 2^62), split at random; the shift goes from 1 to 62, one a chunk. At this size of
values, a truncation that may fail, such as that of each share on its own, does so every few times.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress, TimeRemainingColumn

from veilform.drive.lockstep import deal_stocks, run
from veilform.drive.trace import trace
from veilform.protocol.effects import Protocol
from veilform.protocol.opening import open_value
from veilform.protocol.party import Party
from veilform.protocol.share import preshare
from veilform.protocol.truncate import truncate
from veilform.roles import CLIENT, SERVER
from veilform.shapes import Abstract
from veilform.values import Additive, Array

CHUNK = 1 << 18
SHIFTS = range(1, 63)


def preshared(me: Party, share: Array, shift: int) -> Protocol[Array]:
    """By ``truncate``."""
    x = yield from preshare(me, Additive(share))
    return (yield from truncate(me, x, shift)).share


def opened(me: Party, share: Array, shift: int) -> Protocol[Array]:
    """By ``open_value`` of an additive value."""
    x = yield from open_value(me, Additive(share), shift)
    return me.opened_share(x.y, x.shift, x.q, x.h)


def opened_preshared(me: Party, share: Array, shift: int) -> Protocol[Array]:
    """By ``open_value`` of a preshared value."""
    x = yield from preshare(me, Additive(share))
    x = yield from open_value(me, x, shift)
    return me.opened_share(x.y, x.shift, x.q, x.h)


PROTOCOLS = {"truncate": preshared, "open": opened, "open preshared": opened_preshared}


def errors(
    protocol: Callable[..., Protocol[Any]], x: np.ndarray, shift: int, rng: np.random.Generator
) -> np.ndarray:
    """Result minus floor(x / 2^shift), for int64 x."""
    manifest = trace(lambda me: protocol(me, Abstract(x.shape), shift)).manifest("bench", 1, 1)
    theirs = rng.integers(0, 1 << 64, x.shape, np.uint64)
    shares = {CLIENT: x.view(np.uint64) - theirs, SERVER: theirs}
    programs = {
        role: lambda me, share=share: protocol(me, share, shift) for role, share in shares.items()
    }
    results = run(programs, deal_stocks(manifest)).results
    got = (results[CLIENT] + results[SERVER]).view(np.int64)
    return got - (x >> np.int64(shift))


def main() -> int:
    """0 if nothing failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=1_000_000, help="truncations a protocol")
    parser.add_argument("--seed", type=int, default=0, help="of the values; masks are always fresh")
    parser.add_argument("--json", type=Path, help="write the result here")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    report: dict[str, Any] = {
        "command": f"python bench/truncation.py --count {options.count} --seed {options.seed}",
        "values": "uniform in [-2^62, 2^62)",
        "shifts": f"{SHIFTS[0]} to {SHIFTS[-1]}, one a chunk of {CHUNK}",
        "failure": "off by more than one unit",
        "protocols": {},
    }
    with Progress(*Progress.get_default_columns()[:-1], TimeRemainingColumn()) as progress:
        for name, protocol in PROTOCOLS.items():
            task = progress.add_task(name, total=options.count)
            tally = {"truncations": 0, "exact": 0, "one above": 0, "one below": 0, "failures": 0}
            start = time.perf_counter()
            for chunk, first in enumerate(range(0, options.count, CHUNK)):
                size = min(CHUNK, options.count - first)
                x = rng.integers(-(1 << 62), 1 << 62, size, np.int64)
                off = errors(protocol, x, SHIFTS[chunk % len(SHIFTS)], rng)
                found = [int((off == n).sum()) for n in (0, 1, -1)]
                for key, more in zip(tally, (size, *found, size - sum(found)), strict=True):
                    tally[key] += more
                progress.advance(task, size)
            seconds = round(time.perf_counter() - start, 1)
            report["protocols"][name] = {**tally, "seconds": seconds}
    text = json.dumps(report, indent=1) + "\n"
    sys.stdout.write(text)
    if options.json:
        options.json.write_text(text, encoding="utf-8")
    return int(any(p["failures"] for p in report["protocols"].values()))


if __name__ == "__main__":
    sys.exit(main())
