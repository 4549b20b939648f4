"""Drivers: where messages end, and what happens when two parties run different programs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.protocol.harness import checked

from veilform.correlation import specs
from veilform.drive.alternate import alternate
from veilform.drive.execute import Await, Fetch, Send, execute
from veilform.drive.lockstep import deal_stocks, run
from veilform.drive.trace import trace
from veilform.errors import ProtocolError
from veilform.protocol.effects import BOTH, Gather, Take, Transfer, together
from veilform.protocol.multiply import square
from veilform.protocol.opening import open_value
from veilform.protocol.party import Party
from veilform.protocol.share import mask_private, preshare, reveal
from veilform.protocol.truncate import drop
from veilform.roles import CLIENT, DEALER, SERVER, Role
from veilform.shapes import Abstract
from veilform.values import Additive

Words = np.ndarray


def no_stock(spec: Any) -> Any:
    raise AssertionError(f"nothing should be taken: {spec}")


def both(client: Any, server: Any) -> Any:
    return alternate({CLIENT: client, SERVER: server}, {CLIENT: no_stock, SERVER: no_stock})


def exchange(role: Role, *transfers: tuple[int, int, tuple[Role, ...]]):
    """Sends zeros as the list of (count, bits, senders) says."""
    got = []
    for count, bits, senders in transfers:
        payload = np.zeros(count, np.uint64) if role in senders else None
        got.append((yield Transfer((count,), bits, senders, payload)))
    return got


def test_parties_that_agree() -> None:
    plan = [(3, 64, BOTH), (9, 1, (SERVER,)), (2, 24, (CLIENT,)), (4, 64, BOTH)]
    ran = both(exchange(CLIENT, *plan), exchange(SERVER, *plan))
    assert [x is None for x in ran.results[CLIENT]] == [False, False, True, False]
    assert [x is None for x in ran.results[SERVER]] == [False, True, False, False]
    sizes = {r: [[p.nbytes for p in m] for m in ran.sent[r]] for r in (CLIENT, SERVER)}
    assert sizes == {CLIENT: [[24], [6, 32]], SERVER: [[24], [2], [32]]}, "messages end elsewhere"


def test_a_peer_that_expects_more() -> None:
    with pytest.raises(ProtocolError, match=r"24 bytes ends where .* is due"):
        both(exchange(CLIENT, (3, 64, (CLIENT,))), exchange(SERVER, (4, 64, (CLIENT,))))


def test_a_peer_that_expects_less() -> None:
    with pytest.raises(ProtocolError, match=r"left of the last message|is due"):
        both(exchange(CLIENT, (4, 64, BOTH)), exchange(SERVER, (3, 64, BOTH)))


def test_left_over_bytes() -> None:
    with pytest.raises(ProtocolError, match="8 bytes are left of the last message"):
        both(exchange(CLIENT, (4, 64, (CLIENT,))), exchange(SERVER, (3, 64, (CLIENT,))))


def test_both_waiting() -> None:
    with pytest.raises(ProtocolError, match="wait for each other"):
        both(exchange(CLIENT, (1, 64, (SERVER,))), exchange(SERVER, (1, 64, (CLIENT,))))


def test_a_message_that_nobody_reads() -> None:
    with pytest.raises(ProtocolError, match="nobody reads"):
        both(exchange(CLIENT, (1, 64, (CLIENT,))), exchange(SERVER))


def test_one_party_ends_early() -> None:
    with pytest.raises(ProtocolError, match="wait for each other"):
        both(exchange(CLIENT, (1, 64, BOTH), (1, 64, BOTH)), exchange(SERVER, (1, 64, BOTH)))


def finish(party: Any, size: int) -> None:
    """A message of ``size`` zero bytes comes."""
    step = party.send(size)
    while True:
        step = party.send(bytes(step.nbytes))


@pytest.mark.parametrize("size", [0, 7, 9, 16])
def test_a_message_of_another_size(size: int) -> None:
    party = execute(CLIENT, exchange(CLIENT, (1, 64, (SERVER,))), no_stock)
    assert next(party) == Await()
    with pytest.raises(ProtocolError, match=r"ends where|are left"):
        finish(party, size)


def test_a_word_too_large_for_its_bits() -> None:
    party = execute(CLIENT, exchange(CLIENT, (1, 12, (SERVER,))), no_stock)
    assert next(party) == Await()
    assert party.send(2) == Fetch(2)
    with pytest.raises(ProtocolError, match="more than 12 bits"):
        party.send((1 << 12).to_bytes(2, "little"))


def test_the_dealer_has_no_peer() -> None:
    with pytest.raises(ValueError, match="no peer"):
        _ = DEALER.peer


def test_messages_end_only_where_a_party_must_wait() -> None:
    """Three transfers one way and one back are one message each way."""
    plan = [(1, 64, (CLIENT,)), (2, 8, (CLIENT,)), (9, 1, (CLIENT,)), (5, 64, (SERVER,))]
    ran = both(exchange(CLIENT, *plan), exchange(SERVER, *plan))
    assert [[p.nbytes for p in m] for m in ran.sent[CLIENT]] == [[8, 2, 2]]
    assert [[p.nbytes for p in m] for m in ran.sent[SERVER]] == [[40]]


def test_together_passes_a_gather_through() -> None:
    def pair(role: Role):
        one, two = (Transfer((n,), 64, BOTH, np.full(n, n, np.uint64)) for n in (1, 2))
        got = yield Gather((one, two))
        return [g.size for g in got]

    def program(role: Role):
        return (yield from together(pair(role), exchange(role, (3, 64, BOTH)), exchange(role)))

    ran = both(program(CLIENT), program(SERVER))
    assert ran.results[CLIENT][0] == [1, 2]
    assert ran.results[CLIENT][1][0].size == 3
    assert ran.results[CLIENT][2] == []
    assert len(ran.sent[CLIENT]) == len(ran.sent[SERVER]) == 1


# --- Where messages end follows from the program alone ------------------------------------------

STEPS = st.sampled_from(["drop", "open", "square", "reveal", "private", "reshare"])
PROGRAMS = st.lists(st.lists(STEPS, max_size=4), min_size=1, max_size=4)


def chain(me: Any, share: Any, steps: list[str]):
    x = Additive(share, 40)
    for step in steps:
        if step == "drop":
            x = drop(me, (yield from preshare(me, x)), 3, min(x.bits - 3, 37))
            x = Additive(x.share, x.bits)
        elif step == "open":
            opened = yield from open_value(me, x, 60)
            x = Additive(me.opened_share(opened), opened.bits)
        elif step == "square":
            x = yield from square(me, (yield from open_value(me, x)))
        elif step == "reveal":
            yield from reveal(me, x)
        elif step == "private":
            mine = x.share if me.role is CLIENT else None
            yield from mask_private(me, mine, x.shape, x.bits)
        else:
            x = Additive((yield from preshare(me, x)).share, x.bits)
    return x.share


def composed(plan: list[list[str]], abstract: bool = False):
    def program(me: Any):
        starts = [
            Abstract((2, i + 1)) if abstract else np.full((2, i + 1), 1000 + i, np.uint64)
            for i in range(len(plan))
        ]
        parts = [chain(me, share, steps) for share, steps in zip(starts, plan, strict=True)]
        first = yield from together(*parts)
        return first + (yield from together(*(chain(me, s, ["open"]) for s in first)))

    return program


@checked(60)
@given(plan=PROGRAMS)
def test_messages_are_as_traced(plan: list[list[str]]) -> None:
    foreseen = trace(composed(plan, abstract=True))
    stocks = deal_stocks(foreseen.manifest("test", 1, 1))
    ran = run({CLIENT: composed(plan), SERVER: composed(plan)}, stocks)
    up, down = (
        tuple(sum(part.nbytes for part in message) for message in ran.sent[role])
        for role in (CLIENT, SERVER)
    )
    assert (up, down) == (foreseen.up, foreseen.down), f"messages of {plan} end elsewhere"


@checked(60)
@given(plan=PROGRAMS, turns=st.lists(st.booleans(), max_size=40))
def test_timing_does_not_move_a_message_s_end(plan: list[list[str]], turns: list[bool]) -> None:
    """The parties run by turns drawn at random; messages and results are the same."""
    foreseen = trace(composed(plan, abstract=True))
    manifest = foreseen.manifest("test", 1, 1)
    seeds = {CLIENT: bytes(16), SERVER: bytes(range(16))}

    def start() -> dict[Role, Any]:
        stocks = deal_stocks(manifest, seeds=seeds)
        return {
            role: execute(role, composed(plan)(Party(role)), stocks[role].take)
            for role in (CLIENT, SERVER)
        }

    runs = start()
    sizes = {CLIENT: foreseen.up, SERVER: foreseen.down}
    due_in = {role: iter(sizes[role.peer]) for role in sizes}
    wire: dict[Role, bytearray] = {CLIENT: bytearray(), SERVER: bytearray()}  # to each
    sent: dict[Role, list[int]] = {CLIENT: [0], SERVER: [0]}
    steps: dict[Role, Any] = {role: next(runs[role]) for role in runs}
    order = iter([*turns, *[True, False] * 2000])
    while steps:
        role = CLIENT if next(order) else SERVER
        step, reply = steps.get(role), None
        if isinstance(step, Send):  # on the wire at once, not when the message is complete
            sent[role][-1] += step.part.nbytes
            wire[role.peer] += step.part
        elif isinstance(step, Fetch):
            if len(wire[role]) < step.nbytes:
                continue
            reply = bytes(wire[role][: step.nbytes])
            del wire[role][: step.nbytes]
        elif isinstance(step, Await):
            sent[role].append(0)
            reply = next(due_in[role])
        else:
            continue
        try:
            steps[role] = runs[role].send(reply)
        except StopIteration:
            del steps[role]
    assert not any(wire.values()), "a message was not read"
    assert {role: tuple(filter(None, sent[role])) for role in sent} == sizes, plan


def test_a_trace_finds_parties_that_take_different_correlations() -> None:
    def program(me):
        yield Take(specs.Preshare("a" if me.role is CLIENT else "b", (1,), 64))

    with pytest.raises(AssertionError, match="different correlations"):
        trace(program)
