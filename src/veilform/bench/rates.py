"""Measures a machine for the planner: runs of small models, and the rates that explain them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from veilform.bench import machine
from veilform.bench.inference import Setting, measure
from veilform.models.sides import Shape
from veilform.models.text import bucket
from veilform.plan.presets import ModelShape
from veilform.plan.private import offline
from veilform.plan.private.clocks import run_seconds
from veilform.plan.private.estimate import WEIGHTS
from veilform.plan.private.machine import Machine, Measured, fit
from veilform.plan.private.rehearse import KINDS, Step, rehearse
from veilform.plan.random_model import random_side
from veilform.roles import Role
from veilform.transport.links import LOOPBACK

SMALL = ModelShape("calibration-384", 2, 384, 12, 1536, pooling="mean")
LARGE = ModelShape("calibration-768", 3, 768, 12, 3072)
WIDE = ModelShape("calibration-1024", 2, 1024, 16, 4096)
DEEP = 6
MIXES = (("quad", "2quad"), ("gelu", "softmax"), ("curve-gelu", "2relu"), ("relu", "softmax-ode"))
LENGTHS: tuple[int, ...] = (16, 64, 128)
FUNCTION = "attention function"
FIRST, ROUNDS = 1e-5, 6
"""Seconds a step where fitting begins; how often it is repeated."""


def settings(runs: int) -> list[Setting]:
    """What is run: four mixes that use every protocol; other depths, widths and small weights."""
    shapes = [(SMALL.with_functions(*mix), LENGTHS) for mix in MIXES]
    shapes += [(SMALL.with_layers(DEEP), LENGTHS), (LARGE, LENGTHS), (WIDE, LENGTHS[1:])]
    shapes += [(LARGE.with_layers(DEEP), LENGTHS[1:2])]
    shapes += [(SMALL.with_weights(8), LENGTHS), (LARGE.with_weights(8), LENGTHS[1:2])]
    shapes += [(LARGE.with_functions(*MIXES[1]), LENGTHS[1:2])]
    return [Setting(shape, length, runs=runs) for shape, lengths in shapes for length in lengths]


def calibrate(
    wanted: Sequence[Setting], progress: Callable[[int, str], None] = lambda done, step: None
) -> tuple[Machine, dict[str, Any]]:
    """The machine's rates, and the figures that they come from.

    Args:
        progress: told how many settings are done, and what is being done.
    """
    dealt: list[tuple[dict[str, int], float]] = []
    runs: list[Run] = []
    figures: list[dict[str, Any]] = []
    for done, setting in enumerate(wanted):
        progress(done, f"{setting.shape.name}, {setting.seq} tokens")
        measured = measure(setting, plain="numpy")
        figures.append(measured)
        side = random_side(setting.shape, setting.seq)
        shape = Shape(setting.batch, bucket(setting.seq))
        steps = rehearse(side.program(shape).abstract)
        # The fastest run: what else the machine does only ever adds seconds.
        in_function = measured["best_online_seconds_by_operation"][FUNCTION]
        runs.append(Run(steps, measured["best_online_seconds"], in_function))
        counted = offline.work(side.manifest(shape, WEIGHTS), side.trace(shape))
        dealt.append((counted, measured["best_offline_seconds"]))
    described = machine.describe()
    name = f"{described['processor']}, {described['cores']} cores, {described['kernels']} kernels"
    rates = explained(runs, name, offline.fit(dealt))
    return rates, {"machine": described, "settings": figures}


class Run(NamedTuple):
    """Steps of both parties, seconds of the whole, and those in attention functions."""

    steps: Mapping[Role, Sequence[Step]]
    seconds: float
    in_function: float

    @property
    def function(self) -> Mapping[Role, Sequence[Step]]:
        """The steps of attention functions."""
        return {
            role: [step for step in steps if step.operation == FUNCTION]
            for role, steps in self.steps.items()
        }


def explained(runs: Sequence[Run], name: str, rates_offline: Mapping[str, float]) -> Machine:
    """The rates that explain the runs, and the attention functions in them.

    Which steps the others overlap depends on the rates: a fit begins with the paths that the last
    one's rates give. Parts of a run other than attention functions would mislead: the client goes
    on while the server multiplies by weights, and waits for it in whatever operation comes next.
    """
    parts = [(run.steps, run.seconds, 1.0) for run in runs]
    parts += [(run.function, run.in_function, 0.0) for run in runs]
    found = Machine(name, 0.0, FIRST, dict.fromkeys(KINDS, FIRST / 1000))
    for _ in range(ROUNDS):
        rows = [
            Measured([whole, *run_seconds(steps, found, LOOPBACK).path], seconds)
            for steps, seconds, whole in parts
        ]
        found = fit(rows, name, rates_offline)
    return found
