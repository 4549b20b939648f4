"""Two programs over channels: the same results as by turns, and what a break within a run does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import numpy as np
import pytest

from veilform.correlation.manifest import Manifest
from veilform.correlation.stock import Stock
from veilform.drive import network
from veilform.drive.lockstep import deal_stocks
from veilform.errors import ConnectionFailed, ProtocolError
from veilform.protocol.effects import BOTH, Transfer
from veilform.roles import CLIENT, SERVER, Role
from veilform.transport import Kind, Settings, channel_pair

COUNT = 5000  # 40 kB a transfer: a part on its own


def talk(me: Any, before: Callable[[int], None] = lambda step: None) -> Any:
    """The client sends three parts, the server answers with two, both send one."""
    total = 0
    for step, senders in enumerate([(CLIENT,)] * 3 + [(SERVER,)] * 2 + [BOTH]):
        before(step)
        payload = np.full(COUNT, step + 1, np.uint64) if me.role in senders else None
        reply = yield Transfer((COUNT,), 64, senders, payload)
        if reply is not None:
            total += int(reply.sum())
    return total


MANIFEST = Manifest("test", "", 1, 1, (), (8 * 3 * COUNT, 8 * COUNT), (8 * 3 * COUNT,))


def run_both(
    programs: dict[Role, Callable[[Any], Any]], manifests: dict[Role, Manifest] | None = None
) -> tuple[dict[Role, Any], Any]:
    """Each role's result, or the error that it ended with; and the client's traffic."""
    stocks: dict[Role, Stock] = deal_stocks(MANIFEST)
    for role, manifest in (manifests or {}).items():
        stocks[role].manifest = manifest
    ends = dict(zip((CLIENT, SERVER), channel_pair(CLIENT, SERVER, Settings(5.0)), strict=True))

    def one(role: Role) -> Any:
        try:
            with ends[role]:
                return network.run(programs[role], stocks[role], ends[role])
        except Exception as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        results = {role: pool.submit(one, role) for role in ends}
        done = {role: each.result(20) for role, each in results.items()}
    return done, ends[CLIENT].counters.snapshot()


def test_parts_stream_within_one_frame() -> None:
    """The server gets the first part while the client waits to compute the second."""
    got_first = threading.Event()

    def client(step: int) -> None:
        if step == 1:
            assert got_first.wait(5), "the first part waits for the others"

    def server(step: int) -> None:
        if step == 1:
            got_first.set()

    done, traffic = run_both(
        {CLIENT: lambda me: talk(me, before=client), SERVER: lambda me: talk(me, before=server)}
    )
    assert done == {CLIENT: COUNT * (4 + 5 + 6), SERVER: COUNT * (1 + 2 + 3 + 6)}
    sent, received = traffic.sent[Kind.DATA], traffic.received[Kind.DATA]
    assert (sent.frames, sent.payload_bytes) == (2, sum(MANIFEST.up))
    assert (received.frames, received.payload_bytes) == (1, sum(MANIFEST.down))


@pytest.mark.parametrize(
    ("up", "says"),
    [
        ((8 * 3 * COUNT + 8, 8 * COUNT), r"sends 120000 bytes where 120008 are due"),
        ((8 * 3 * COUNT - 8, 8 * COUNT), r"sends more than the 119992 bytes that are due"),
        ((8 * 3 * COUNT,), r"sends a message that its manifest does not have"),
        ((8 * 3 * COUNT, 8 * COUNT, 8), r"the run ended before its last message"),
    ],
)
def test_a_program_that_is_not_its_manifest_s(up: tuple[int, ...], says: str) -> None:
    """Its own side says so; nothing shorter or longer ever passes for the message."""
    other = msgspec.structs.replace(MANIFEST, up=up)
    done, _ = run_both({CLIENT: talk, SERVER: talk}, {CLIENT: other, SERVER: other})
    assert isinstance(done[CLIENT], ProtocolError)
    with pytest.raises(ProtocolError, match=says):
        raise done[CLIENT]
    assert isinstance(done[SERVER], (ProtocolError, ConnectionFailed))


def test_a_program_that_fails_within_a_message() -> None:
    def broken(step: int) -> None:
        if step == 2:
            raise RuntimeError("a bug")

    done, _ = run_both({CLIENT: lambda me: talk(me, before=broken), SERVER: talk})
    assert isinstance(done[CLIENT], RuntimeError)
    with pytest.raises(ConnectionFailed, match=r"the client ended .* in the middle of a frame"):
        raise done[SERVER]


def test_every_message_is_told_as_it_passes() -> None:
    stocks = deal_stocks(MANIFEST)
    seen: dict[Role, list[network.Passed]] = {CLIENT: [], SERVER: []}
    ends = dict(zip((CLIENT, SERVER), channel_pair(CLIENT, SERVER, Settings(5.0)), strict=True))

    def one(role: Role) -> None:
        with ends[role]:
            network.run(talk, stocks[role], ends[role], follow=seen[role].append)

    with ThreadPoolExecutor(2) as pool:
        for each in [pool.submit(one, role) for role in ends]:
            each.result(20)
    client, server = seen[CLIENT], seen[SERVER]
    assert [passed.number for passed in client] == [1, 2, 3]
    assert {passed.of for passed in client} == {3}
    # Both saw the same bytes, one as sent and the other as received.
    for way in (True, False):
        mine = [(p.size, p.head) for p in client if p.sent is way]
        assert mine == [(p.size, p.head) for p in server if p.sent is not way]
    assert client[0].head == (1).to_bytes(8, "little") * 4
