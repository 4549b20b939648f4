"""The planner of parallel training beside the AMP paper's own numbers and trials.

    VEILFORM_SHARED_DATA=FOLDER python bench/parallel.py
        [--json bench/results/parallel.json] [--plot docs/figures/pipeline.svg]

FOLDER/amp holds the paper's profiles (.npy) and trials (homogeneous.json); without the variable it
is ../shared/data beside the checkout. Search time is the median of five, in this process.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table
from shared import shared_data

from veilform.bench import machine
from veilform.plan.parallel import affine, search
from veilform.plan.parallel.predict import MODES, Mode, predict
from veilform.plan.parallel.replay import Trials, read, replay
from veilform.plan.parallel.settings import SETTINGS, Setting, setting
from veilform.plan.parallel.timeline import draw

RUNS = 5
LAUNCHES_MS = (0, 0.5, 1, 1.5, 2, 3)


def homogeneous(trials: Trials, data: Path, mode: Mode) -> dict[str, object]:
    """What `veilform parallel replay` says, and how far predictions are from measured times."""
    chosen = setting("amp-homogeneous")
    profile, cluster = chosen.profile(data), chosen.cluster
    ran, out_of_memory = [], []
    for trial in trials.trials:
        ours = predict(trial.strategy(profile, cluster), profile, cluster, 32, mode)
        if trial.measured_s is None:
            out_of_memory.append(not ours.fits)
        else:
            ran.append((abs(ours.seconds / trial.measured_s - 1), ours.fits))
    return replay(trials, chosen, profile, mode) | {
        "median_relative_error": round(statistics.median(error for error, _ in ran), 4),
        "largest_relative_error": round(max(error for error, _ in ran), 4),
        "out_of_memory_foreseen": f"{sum(out_of_memory)} of {len(out_of_memory)}",
        "wrongly_said_not_to_fit": sum(not fits for _, fits in ran),
    }


def by_launch_time(trials: Trials, data: Path) -> list[dict[str, object]]:
    """The default model with other constants than its own."""
    own, rows = affine.LAUNCH_S, []
    for milliseconds in LAUNCHES_MS:
        affine.LAUNCH_S = milliseconds / 1e3
        rows.append({"launch_ms": milliseconds, **homogeneous(trials, data, "default")})
    affine.LAUNCH_S = own
    return rows


def searched(chosen: Setting, data: Path, mode: Mode) -> dict[str, object]:
    """The best plan, and how long it takes to find."""
    profile, cluster = chosen.profile(data), chosen.cluster
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        plans = search(profile, cluster, chosen.global_batch, mode)
        times.append(time.perf_counter() - start)
    return {
        "plans": len(plans),
        "search_seconds": round(statistics.median(times), 3),
        "best": plans[0].as_dict(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures")
    parser.add_argument("--plot", type=Path, help="draw a timeline")
    options = parser.parse_args()
    data = shared_data("amp")
    trials = read(data / "homogeneous.json")
    figures = {
        "homogeneous": {mode: homogeneous(trials, data, mode) for mode in MODES},
        "default_by_launch_time": by_launch_time(trials, data),
        "searches": {
            name: {mode: searched(SETTINGS[name], data, mode) for mode in MODES}
            for name in SETTINGS
        },
    }
    table = Table("homogeneous trials", *MODES)
    for name in figures["homogeneous"]["default"]:
        table.add_row(name, *(str(figures["homogeneous"][mode][name]) for mode in MODES))
    for name, modes in figures["searches"].items():
        table.add_row(f"search, {name}", *(f"{modes[m]['search_seconds']:.3f} s" for m in MODES))
    Console().print(table)
    for row in figures["default_by_launch_time"]:
        print(row["launch_ms"], "ms:", row["spearman"], row["median_relative_error"])
    if options.json:
        machine.save(options.json, "python " + " ".join(sys.argv), figures)
    if options.plot:
        chosen = setting("amp-het-cluster")
        profile = chosen.profile(data)
        plans = search(profile, chosen.cluster, chosen.global_batch)
        plan = next(each for each in plans if each.strategy.pp == 4)
        draw(plan, options.plot, "GPT-2 on three machines of V100 and one of T4, batch 32")


if __name__ == "__main__":
    main()
