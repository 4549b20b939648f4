"""Measures a machine for the planner: runs of small models, and the rates that explain them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from veilform.bench import machine
from veilform.bench.inference import Setting, measure
from veilform.models.bert.sides import Shape
from veilform.models.text import bucket
from veilform.plan.presets import ModelShape
from veilform.plan.private import offline
from veilform.plan.private.estimate import WEIGHTS
from veilform.plan.private.machine import Machine, Measured, fit
from veilform.plan.private.rehearse import rehearse, work
from veilform.plan.random_model import random_side
from veilform.roles import CLIENT, SERVER

SMALL = ModelShape("calibration-384", 2, 384, 12, 1536, pooling="mean")
LARGE = ModelShape("calibration-768", 1, 768, 12, 3072)
MIXES = (("quad", "2quad"), ("gelu", "softmax"), ("curve-gelu", "2relu"), ("relu", "softmax-ode"))
LENGTHS = (16, 64, 128)


def settings(runs: int) -> list[Setting]:
    """What is run: two widths, four mixes that use every protocol, three lengths."""
    small = [
        Setting(SMALL.with_functions(*mix), length, runs=runs)
        for mix in MIXES
        for length in LENGTHS
    ]
    large = [Setting(LARGE.with_functions(*mix), 64, runs=runs) for mix in MIXES[:2]]
    return [*small, *large]


def calibrate(
    wanted: Sequence[Setting], progress: Callable[[int, str], None] = lambda done, step: None
) -> tuple[Machine, dict[str, Any]]:
    """The machine's rates, and the figures that they come from.

    Args:
        progress: told how many settings are done, and what is being done.
    """
    rows: list[Measured] = []
    dealt: list[tuple[dict[str, int], float]] = []
    starts: list[float] = []
    figures: list[dict[str, Any]] = []
    for done, setting in enumerate(wanted):
        progress(done, f"{setting.shape.name}, {setting.seq} tokens")
        measured = measure(setting, plain="numpy")
        figures.append(measured)
        side = random_side(setting.shape, setting.seq)
        shape = Shape(setting.batch, bucket(setting.seq))
        steps = rehearse(side.program(shape).abstract)
        by_role = [work(steps[role]) for role in (CLIENT, SERVER)]
        operations = measured["online_seconds_by_operation"]
        starts.append(measured["online_seconds"] - sum(operations.values()))
        rows += [
            Measured([each.get(operation, {}) for each in by_role], seconds)
            for operation, seconds in operations.items()
        ]
        counted = offline.work(side.manifest(shape, WEIGHTS), side.trace(shape))
        dealt.append((counted, measured["offline_seconds"]))
    described = machine.describe()
    name = f"{described['processor']}, {described['cores']} cores, {described['kernels']} kernels"
    start = max(0.0, statistics.median(starts))
    rates = fit(rows, name, start, offline.fit(dealt))
    return rates, {"machine": described, "settings": figures}
