"""Messages sent and received in parts: one frame, exact sizes, and breaks in the middle of it."""

from __future__ import annotations

import itertools
import os
import socket
import ssl
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from tests.transport.test_attacks import IMPATIENT, frame, victim

from veilform.errors import ConnectionFailed, ProtocolError
from veilform.roles import CLIENT, SERVER, Role
from veilform.transport import Channel, Identity, Kind, Listener, PeerError, Settings, channel_pair
from veilform.transport.engine import TlsEngine
from veilform.transport.handshake import tls_context
from veilform.transport.sockets import shake_hands

Pair = tuple[Channel, Channel]
Background = Callable[..., Future[Any]]


def test_parts_of_any_size_are_one_frame(pair: Pair) -> None:
    client, server = pair
    before = client.counters.snapshot(), server.counters.snapshot()
    content = os.urandom(200_000)
    cuts = [0, 1, 1, 17, 20_000, 20_001, 150_000, 200_000]
    message = client.begin_data(len(content))
    for start, stop in itertools.pairwise(cuts):
        message.write(content[start:stop])
    message.finish()
    coming = server.open_data(len(content))
    assert coming.size == len(content)
    got = [coming.read(n) for n in (100_000, 0, 1, 99_999)]
    assert b"".join(got) == content
    sent = (client.counters.snapshot() - before[0]).sent[Kind.DATA]
    received = (server.counters.snapshot() - before[1]).received[Kind.DATA]
    assert (sent.frames, sent.payload_bytes) == (1, len(content))
    assert sent == received
    server.send_data([b"next"])
    assert client.receive_data(4) == b"next"
    client.send_data([b"and"])
    assert server.receive_data(3) == b"and"


def test_a_part_can_be_read_before_the_next_is_there(pair: Pair) -> None:
    client, server = pair
    message = client.begin_data(60_000)
    message.write(b"a" * 30_000)
    coming = server.open_data(60_000)
    assert coming.read(30_000) == b"a" * 30_000
    message.write(b"b" * 30_000)
    assert coming.read(30_000) == b"b" * 30_000


def test_a_message_of_another_size_is_refused_unread(loopback_pair: Pair) -> None:
    client, server = loopback_pair
    client.send_data([bytes(7)])
    with pytest.raises(ProtocolError, match="of 7 bytes, allowed here: exactly 8"):
        server.open_data(8)


def test_more_or_less_than_announced_is_this_side_s_error(loopback_pair: Pair) -> None:
    client, _ = loopback_pair
    with pytest.raises(ValueError, match="at least one byte"):
        client.begin_data(0)
    message = client.begin_data(10)
    message.write(b"123")
    with pytest.raises(ProtocolError, match="sends 3 bytes where 10 are due"):
        message.finish()
    with pytest.raises(ProtocolError, match="more than the 10 bytes that are due"):
        message.write(bytes(8))


def test_what_was_not_sent_yet_does_not_keep_an_error_from_the_peer(pair: Pair) -> None:
    """Nothing of the frame has left, so the stream is whole and can carry the reason."""
    client, server = pair
    client.begin_data(10).write(b"123")
    client.send_error("no more")
    with pytest.raises(PeerError, match="no more"):
        server.open_data(10)


def test_an_error_within_a_frame_ends_the_connection(pair: Pair) -> None:
    client, server = pair
    client.begin_data(100_000).write(bytes(50_000))
    client.__exit__(RuntimeError, RuntimeError("a bug"), None)
    coming = server.open_data(100_000)
    coming.read(50_000)
    for _ in range(2):
        with pytest.raises(ConnectionFailed, match=r"the client ended .* in the middle of a frame"):
            coming.read(1)
    with pytest.raises(ConnectionFailed, match="in the middle of a frame"):
        server.send_data([b"x"])


def test_nothing_else_passes_within_a_frame(pair: Pair) -> None:
    client, server = pair
    client.begin_data(100_000).write(bytes(50_000))
    with pytest.raises(ValueError, match="50000 bytes are missing in the frame before"):
        client.send_data([b"x"])
    server.open_data(100_000).read(10)
    with pytest.raises(ValueError, match="99990 bytes of the frame before were not read"):
        server.receive_data(10)
    client.send_error("cannot be said")
    with pytest.raises(ConnectionFailed, match="stopped in the middle of a frame"):
        client.send_data([b"x"])


def test_more_than_is_left_cannot_be_read(loopback_pair: Pair) -> None:
    client, server = loopback_pair
    client.send_data([bytes(10)])
    coming = server.open_data(10)
    with pytest.raises(ValueError, match="10 bytes are left of a message, not 11"):
        coming.read(11)
    assert coming.read(10) == bytes(10)


def test_the_peer_s_reason_is_heard_while_a_message_is_under_way(pair: Pair) -> None:
    client, server = pair
    client.begin_data(100_000).write(bytes(50_000))
    server.send_error("wrong model")
    with pytest.raises(PeerError, match="the server reports: wrong model"):
        client.open_data(10)


@pytest.mark.parametrize("kept", [0, 5, 9])
def test_a_peer_that_announces_more_than_it_sends(kept: int) -> None:
    with victim(frame(Kind.DATA, bytes(10), 0)[: 16 + kept]) as channel:
        coming = channel.open_data(10)
        coming.read(kept)
        with pytest.raises(ConnectionFailed, match=r"the client ended .* in the middle of a frame"):
            coming.read(10 - kept)


def test_a_replayed_message() -> None:
    again = frame(Kind.DATA, b"abc", 0)
    with victim(again, again) as channel:
        channel.open_data(3).read(3)
        with pytest.raises(ProtocolError, match="replayed or reordered"):
            channel.open_data(3)


def test_a_peer_that_stops_within_a_message_meets_the_deadline() -> None:
    with victim(frame(Kind.DATA, bytes(10), 0)[:-1], ends=False, limits=IMPATIENT) as channel:
        coming = channel.open_data(10)
        coming.read(9)
        with pytest.raises(ConnectionFailed, match=r"was not complete after 0\.05"):
            coming.read(1)


def test_a_trickle_has_one_deadline_for_all_parts(in_background: Background) -> None:
    limits = Settings(timeout_s=0.3, close_timeout_s=1.0)
    client, server = channel_pair(CLIENT, SERVER, limits)

    def trickle() -> None:
        message = client.begin_data(20 * 20_000)
        for _ in range(20):
            message.write(bytes(20_000))
            time.sleep(0.1)

    with client, server:
        sending = in_background(trickle)
        start = time.monotonic()
        coming = server.open_data(20 * 20_000)
        with pytest.raises(ConnectionFailed, match="was not complete"):
            [coming.read(20_000) for _ in range(20)]
        assert 0.2 < time.monotonic() - start < 1.5
        sending.exception(10)


def test_computing_between_parts_is_not_waiting() -> None:
    client, server = channel_pair(CLIENT, SERVER, Settings(timeout_s=0.2, close_timeout_s=1.0))
    with client, server:
        client.send_data([bytes(3)])
        coming = server.open_data(3)
        for _ in range(3):
            time.sleep(0.15)
            coming.read(1)


@pytest.mark.parametrize("attack", ["change", "cut"])
def test_a_record_changed_or_cut_on_its_way(
    attack: str, identities: dict[Role, Identity], in_background: Background
) -> None:
    with Listener("127.0.0.1", 0, identities[SERVER], settings=IMPATIENT) as listener:
        coming = in_background(listener.accept, {CLIENT}, 5.0)
        plain = socket.create_connection(("127.0.0.1", listener.port), 5.0)
        engine = TlsEngine(tls_context(identities[CLIENT], False), "server.veilform.internal")
        shake_hands(plain, engine, 5.0)
        channel, _ = coming.result(10)
    records = bytearray(engine.seal(memoryview(frame(Kind.DATA, bytes(40_000), 0))))
    if attack == "change":
        records[-1] ^= 1
    else:
        del records[-1:]
    with channel, plain:
        plain.setblocking(True)
        plain.sendall(records)
        plain.shutdown(socket.SHUT_WR)
        message = channel.open_data(40_000)
        assert message.read(16_000) == bytes(16_000)
        with pytest.raises(ConnectionFailed) as caught:
            message.read(24_000)
        assert isinstance(caught.value.__cause__, ssl.SSLError) == (attack == "change")
