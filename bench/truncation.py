"""Truncates random values in every way and counts results off by more than one unit.

    python bench/truncation.py --count 100000000 --json bench/results/truncation.json

Both parties and the dealer run in this process, with the product's kernels. A value's ring goes
from 3 to 64 bits and the dropped bits from 1 to all but 2, one pair a chunk. Values are uniform in
the ring for a drop, which takes them all, and a quarter of the ring either way where what is left
is lifted to 64 bits: all that may be lifted. At this size of values, a truncation within one ring
that may fail, such as that of each share on its own, does so every few times.
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
from veilform.protocol.truncate import drop
from veilform.ring import WORD, signed
from veilform.roles import CLIENT, SERVER
from veilform.shapes import Abstract
from veilform.values import Additive

CHUNK = 1 << 18
RINGS = range(3, WORD + 1)


def additive(me: Party, x: Additive, shift: int) -> Protocol[Additive]:
    """``drop`` of an additive value."""
    yield from ()
    return drop(me, x, shift)


def preshared(me: Party, x: Additive, shift: int) -> Protocol[Additive]:
    """``drop`` of a preshared value."""
    left = drop(me, (yield from preshare(me, x)), shift)
    return Additive(left.share, left.bits)


def lifted(me: Party, x: Additive, shift: int) -> Protocol[Additive]:
    """``drop``, and ``open_value`` with a lift."""
    opened = yield from open_value(me, drop(me, x, shift), WORD)
    return Additive(me.opened_share(opened), opened.bits)


def preshared_lifted(me: Party, x: Additive, shift: int) -> Protocol[Additive]:
    """The same of a preshared value."""
    left = drop(me, (yield from preshare(me, x)), shift)
    opened = yield from open_value(me, left, WORD)
    return Additive(me.opened_share(opened), opened.bits)


PROTOCOLS = {
    "drop": additive,
    "drop preshared": preshared,
    "drop and lift": lifted,
    "drop preshared and lift": preshared_lifted,
}


def errors(
    protocol: Callable[..., Protocol[Additive]],
    x: np.ndarray,
    ring: int,
    shift: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Result minus floor(x / 2^shift), in the result's ring, for int64 x."""
    manifest = trace(lambda me: protocol(me, Additive(Abstract(x.shape), ring), shift)).manifest(
        "bench", 1, 1
    )
    theirs = rng.integers(0, 1 << 64, x.shape, np.uint64)
    shares = {CLIENT: x.view(np.uint64) - theirs, SERVER: theirs}
    programs = {
        role: lambda me, share=share: protocol(me, Additive(share, ring), shift)
        for role, share in shares.items()
    }
    ours, theirs = run(programs, deal_stocks(manifest)).results.values()
    exact = (x >> np.int64(shift)).view(np.uint64)
    return signed(ours.share + theirs.share - exact, ours.bits)


def chunks(count: int, lifts: bool, rng: np.random.Generator) -> Any:
    """(values, ring, shift) for so many values."""
    for first in range(0, count, CHUNK):
        ring = int(rng.choice(RINGS))
        shift = int(rng.integers(1, ring - 1))
        top = 1 << (ring - 2 if lifts else ring - 1)
        yield rng.integers(-top, top, min(CHUNK, count - first), np.int64), ring, shift


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
        "values": "uniform in the ring; for a lift, in a quarter of it either way",
        "rings": f"of {RINGS[0]} to {RINGS[-1]} bits, 1 to all but 2 dropped, one pair a {CHUNK}",
        "failure": "off by more than one unit",
        "protocols": {},
    }
    with Progress(*Progress.get_default_columns()[:-1], TimeRemainingColumn()) as progress:
        for name, protocol in PROTOCOLS.items():
            task = progress.add_task(name, total=options.count)
            tally = {"truncations": 0, "exact": 0, "one above": 0, "one below": 0, "failures": 0}
            start = time.perf_counter()
            for x, ring, shift in chunks(options.count, "lift" in name, rng):
                off = errors(protocol, x, ring, shift, rng)
                found = [int((off == n).sum()) for n in (0, 1, -1)]
                for key, more in zip(tally, (x.size, *found, x.size - sum(found)), strict=True):
                    tally[key] += more
                progress.advance(task, x.size)
            seconds = round(time.perf_counter() - start, 1)
            report["protocols"][name] = {**tally, "seconds": seconds}
    text = json.dumps(report, indent=1) + "\n"
    sys.stdout.write(text)
    if options.json:
        options.json.write_text(text, encoding="utf-8")
    return int(any(p["failures"] or p["one below"] for p in report["protocols"].values()))


if __name__ == "__main__":
    sys.exit(main())
