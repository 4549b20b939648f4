"""Rates explain runs: those of a machine that is known come back as times that are right."""

from __future__ import annotations

import pytest

from veilform.bench.rates import FUNCTION, Run, explained, settings
from veilform.models.bert.sides import ServerSide, Shape
from veilform.plan.private import offline
from veilform.plan.private.clocks import run_seconds
from veilform.plan.private.machine import Machine
from veilform.plan.private.rehearse import KINDS, rehearse
from veilform.transport.links import LOOPBACK


def test_runs_of_a_known_machine_are_explained(tiny_side: ServerSide) -> None:
    known = Machine("known", 0.02, 2e-5, {kind: 2e-9 * (i + 1) for i, kind in enumerate(KINDS)})
    runs = []
    for batch in (1, 2, 3, 5, 8, 13, 21):
        for length in (16, 32):
            steps = rehearse(tiny_side.program(Shape(batch, length)).abstract)
            timed = run_seconds(steps, known, LOOPBACK)
            spent = timed.computing[FUNCTION] + timed.waiting[FUNCTION]
            runs.append(Run(steps, timed.seconds, spent))
    found = explained(runs, "found", dict.fromkeys(offline.KINDS, 0.0))
    assert found.name == "found"
    for run in runs:
        again = run_seconds(run.steps, found, LOOPBACK).seconds
        assert again == pytest.approx(run.seconds, rel=0.1)


def test_every_protocol_is_run() -> None:
    """Each kind of step that costs units is in some setting's mix, or its rate would be free."""
    mixes = {(each.shape.activation, each.shape.attention) for each in settings(1)}
    assert any(each.shape.weights == 8 for each in settings(1))
    assert {"gelu", "curve-gelu", "relu", "quad"} == {activation for activation, _ in mixes}
    assert {"softmax", "softmax-ode", "2relu", "2quad"} == {attention for _, attention in mixes}
