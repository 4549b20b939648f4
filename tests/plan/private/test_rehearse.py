"""A rehearsal's steps are those of the run: the same bytes, and the same multiply-adds."""

from __future__ import annotations

import pytest

from veilform.models.bert.sides import ServerSide, Shape
from veilform.plan.private.rehearse import KINDS, RECEIVE, SEND, Step, rehearse, work
from veilform.roles import CLIENT, SERVER, Role

SHAPES = [Shape(1, 16), Shape(3, 32)]


def units(steps: list[Step], kind: str) -> int:
    return sum(step.units for step in steps if step.kind == kind)


@pytest.mark.parametrize("shape", SHAPES)
def test_bytes_and_multiply_adds_are_the_trace_s(tiny_side: ServerSide, shape: Shape) -> None:
    steps = rehearse(tiny_side.program(shape).abstract)
    trace = tiny_side.trace(shape)
    sent = {CLIENT: sum(trace.up), SERVER: sum(trace.down)}
    work_of = {
        CLIENT: trace.total.client_multiply_adds,
        SERVER: trace.total.server_multiply_adds,
    }
    for role in (CLIENT, SERVER):
        assert units(steps[role], SEND) == units(steps[role.peer], RECEIVE) == sent[role]
        assert units(steps[role], "matmul") == work_of[role]
        assert {step.kind for step in steps[role]} <= set(KINDS)


@pytest.mark.parametrize("role", [CLIENT, SERVER])
def test_a_stock_is_used_up(tiny_side: ServerSide, role: Role) -> None:
    manifest = tiny_side.manifest(SHAPES[0], "")
    held = sum(field.nbytes for spec in manifest.specs for field in spec.fields(role))
    assert units(rehearse(tiny_side.program(SHAPES[0]).abstract)[role], "stock") == held


def test_work_sums_by_operation_and_kind() -> None:
    steps = [Step("norm", "mix", 3), Step("norm", "mix", 4), Step("head", "mix", 5)]
    assert work(steps) == {"norm": {"mix": (2, 7)}, "head": {"mix": (1, 5)}}
