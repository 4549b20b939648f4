"""Two clocks and a link, on programs short enough to time by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilform.models.bert.sides import ServerSide, Shape
from veilform.plan.private.clocks import run_seconds
from veilform.plan.private.machine import Machine
from veilform.plan.private.rehearse import KINDS, RECEIVE, SEND, Step, rehearse
from veilform.roles import CLIENT, SERVER
from veilform.transport.links import LAN, LOOPBACK, WAN, Link

FREE = dict.fromkeys(KINDS, 0.0)
WORDS = Machine("a word a second", 0.0, 0.0, {**FREE, "mix": 1.0})


def mix(seconds: int) -> Step:
    return Step("a", "mix", seconds)


def test_a_question_and_its_answer() -> None:
    """Two seconds of the client's, one of the server's, a byte each way, and the first greeting."""
    link = Link(8.0, 10.0)
    client = [mix(2), Step("a", SEND, 1), Step("a", RECEIVE, 1)]
    server = [Step("a", RECEIVE, 1), mix(1), Step("a", SEND, 1)]
    steps = {CLIENT: client, SERVER: server}
    timed = run_seconds(steps, WORDS, link, apart=True)
    assert timed.seconds == 10 + 2 + (1 + 5) + 1 + (1 + 5)
    assert timed.computing == {"a": 2}
    assert timed.waiting == {"a": 13}


def test_a_run_starts_when_its_stock_is_marked_used() -> None:
    slow = Machine("slow to start", 3.0, 0.0, FREE)
    assert run_seconds({CLIENT: [mix(1)], SERVER: []}, slow, LOOPBACK).seconds == 3


def test_what_both_compute_at_once_takes_both_times_on_one_machine() -> None:
    client = [mix(3), Step("a", SEND, 1), Step("a", RECEIVE, 1)]
    server = [mix(2), Step("a", SEND, 1), Step("a", RECEIVE, 1)]
    steps = {CLIENT: client, SERVER: server}
    assert run_seconds(steps, WORDS, LOOPBACK, apart=True).seconds == 3
    assert run_seconds(steps, WORDS, LOOPBACK).seconds == 5


def test_a_part_is_used_while_the_rest_is_on_its_way() -> None:
    """100 s of sending, in ten parts, and as much computing on what arrives: not their sum."""
    link = Link(8.0, 0.0)
    parts = 10
    server = [Step("a", SEND, 10) for _ in range(parts)]
    client = [step for _ in range(parts) for step in (Step("a", RECEIVE, 10), mix(10))]
    timed = run_seconds({CLIENT: client, SERVER: server}, WORDS, link, apart=True)
    assert timed.seconds == 110


@given(st.floats(1e5, 1e11), st.floats(0, 0.2), st.floats(1.0, 10.0))
def test_a_better_link_is_never_slower(bandwidth: float, trip: float, factor: float) -> None:
    client = [mix(1), Step("a", SEND, 5000), Step("a", RECEIVE, 80), Step("a", SEND, 7)]
    server = [Step("a", SEND, 80), Step("a", RECEIVE, 5000), mix(2), Step("a", RECEIVE, 7)]
    steps = {CLIENT: client, SERVER: server}
    base = run_seconds(steps, WORDS, Link(bandwidth, trip)).seconds
    assert run_seconds(steps, WORDS, Link(bandwidth * factor, trip)).seconds <= base
    assert run_seconds(steps, WORDS, Link(bandwidth, trip / factor)).seconds <= base


@pytest.mark.parametrize("apart", [True, False])
def test_a_path_explains_the_seconds(tiny_side: ServerSide, apart: bool) -> None:
    """Over a link that takes no time, seconds are the rates times the path's counts."""
    steps = rehearse(tiny_side.program(Shape(1, 16)).abstract)
    machine = Machine("m", 0.0, 3e-5, {kind: 1e-9 * i for i, kind in enumerate(KINDS)})
    timed = run_seconds(steps, machine, LOOPBACK, apart=apart)
    rates = [machine.step, *machine.unit.values()]
    explained = sum(rate * count for rate, count in zip(rates, timed.path, strict=True))
    assert explained == pytest.approx(timed.seconds)


@pytest.mark.parametrize("apart", [True, False])
def test_a_free_machine_leaves_the_link_s_time(tiny_side: ServerSide, apart: bool) -> None:
    """Every message of a run waits for the one before: half a round trip each, and the bytes."""
    shape = Shape(1, 16)
    steps = rehearse(tiny_side.program(shape).abstract)
    free = Machine("free", 0.0, 0.0, FREE)
    assert run_seconds(steps, free, LOOPBACK, apart=apart).seconds == 0
    trace = tiny_side.trace(shape)
    for link in (LAN, WAN):
        timed = run_seconds(steps, free, link, apart=apart)
        bits = 8 * (sum(trace.up) + sum(trace.down))
        least = trace.messages / 4 * link.round_trip_s
        most = (trace.messages + 2) / 2 * link.round_trip_s + bits / link.bandwidth_bits_per_s
        assert least < timed.seconds < most
        assert sum(timed.waiting.values()) + link.round_trip_s == pytest.approx(timed.seconds)
