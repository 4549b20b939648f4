"""Throws nearly valid inputs at every parser: no crash, no hang, no large allocation.

    python bench/fuzz.py --inputs 1000000 --json bench/results/fuzz.json

Each parser has its share of the inputs, in a process of its own that may take 64 MB more memory
than it begins with, and two seconds for an input. An input that fails is kept as a file, and the
command ends with code 1. The same seed gives the same inputs.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from fuzzing.mutate import mutated
from fuzzing.target import Target
from fuzzing.targets import all_targets
from rich.console import Console
from rich.table import Table

from veilform.bench import machine
from veilform.errors import VeilformError

MOST_MEMORY = 64 << 20
MOST_SECONDS = 2.0
console = Console()


class Hang(BaseException):
    """An input took too long."""


class Failure(NamedTuple):
    """An input that a parser did not refuse in the regular way."""

    target: str
    error: str
    data: bytes


def run(target: Target, inputs: int, seed: int) -> tuple[Counter[str], list[Failure]]:
    """How the inputs ended: accepted, refused by which error, or failed."""
    rng = random.Random(f"{seed} {target.name}")
    ended: Counter[str] = Counter()
    failures: list[Failure] = []
    signal.signal(signal.SIGALRM, _too_long)
    valid = iter(target.corpus)
    with BoundedMemory():
        for _ in range(inputs):
            data = next(valid, None) or mutated(rng, target.corpus)
            signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS)
            try:
                target.parse(data)
                ended["accepted"] += 1
            except VeilformError as error:
                ended[type(error).__name__] += 1
            except BaseException as error:
                ended["failed"] += 1
                failures.append(Failure(target.name, repr(error)[:200], data))
                if len(failures) >= 10 or isinstance(error, KeyboardInterrupt):
                    break
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    return ended, failures


def _too_long(*_: object) -> None:
    raise Hang(f"took more than {MOST_SECONDS} s")


class BoundedMemory:
    """The process may map only so much more than it has."""

    def __enter__(self) -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        self._before = resource.getrlimit(resource.RLIMIT_AS)
        most = pages * resource.getpagesize() + MOST_MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, self._before[1]))

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_AS, self._before)


def _one(number: int, inputs: int, seed: int) -> tuple[str, dict[str, int], list[Failure], float]:
    logging.disable()
    with tempfile.TemporaryDirectory(prefix="veilform-fuzz-", dir=_memory()) as folder:
        target = all_targets(Path(folder))[number]
        start = time.perf_counter()
        ended, failures = run(target, inputs, seed)
        return target.name, dict(ended), failures, time.perf_counter() - start


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def main() -> int:
    """Fuzzes; 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--inputs", type=int, default=1_000_000, help="of all parsers together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", nargs="+", help="these parsers; the JSON keeps the others")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        names = [target.name for target in all_targets(Path(folder))]
    chosen = [n for n, name in enumerate(names) if options.only is None or name in options.only]
    each = -(-options.inputs // max(1, len(chosen)))
    # A thread's arena would reserve 64 MB of addresses, which the limit counts.
    os.environ["MALLOC_ARENA_MAX"] = "1"
    context = multiprocessing.get_context("spawn")
    results: list[dict[str, Any]] = []
    table = Table("parser", "inputs", "accepted", "refused", "failed", "a second")
    found: list[Failure] = []
    with context.Pool(options.processes, maxtasksperchild=1) as pool:
        waiting = [pool.apply_async(_one, (n, each, options.seed)) for n in chosen]
        for one in waiting:
            name, ended, failures, seconds = one.get()
            total = sum(ended.values())
            results.append({"parser": name, "inputs": total, "ended": ended, "seconds": seconds})
            accepted, failed = ended.get("accepted", 0), ended.get("failed", 0)
            table.add_row(
                name, str(total), str(accepted), str(total - accepted - failed), str(failed),
                f"{total / seconds:,.0f}",
            )  # fmt: skip
            found += failures
            console.print(f"{name}: {total} inputs in {seconds:.0f} s, {failed} failed")
    console.print(table)
    keep(found, options.keep)
    if options.json:
        command = f"python bench/fuzz.py --inputs {options.inputs}"
        known = json.loads(options.json.read_text()) if options.json.is_file() else {}
        fresh = {row["parser"] for row in results}
        others = [row for row in known.get("parsers", ()) if row["parser"] not in fresh]
        if others:
            command = f"{known['command']}, then {command}"
        machine.save(options.json, command, {"parsers": others + results})
    return bool(found)


def keep(found: list[Failure], folder: Path) -> None:
    """Writes each failing input to a file of the folder, and says where."""
    for failure in found:
        folder.mkdir(exist_ok=True)
        digest = sha256(failure.data).hexdigest()[:8]
        path = folder / f"{failure.target.replace(' ', '-')}-{digest}"
        path.write_bytes(failure.data)
        console.print(f"{failure.error}: {path}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
