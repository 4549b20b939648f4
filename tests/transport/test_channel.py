"""Round trips of every kind over loopback and over TLS, and exact counts."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veilform.errors import ConnectionFailed, InputError, ProtocolError
from veilform.roles import CLIENT, SERVER
from veilform.transport import (
    HEADER_BYTES,
    Channel,
    Control,
    Kind,
    PeerError,
    PeerLeft,
    Tally,
    channel_pair,
)
from veilform.transport.bulk import BULK_CHUNK_BYTES

Pair = tuple[Channel, Channel]
Background = Callable[..., Future[Any]]


class Ask(Control, frozen=True):
    model: str
    tokens: int


class Told(Control, frozen=True):
    names: list[str]


def test_a_message_is_one_frame_whatever_its_parts(pair: Pair) -> None:
    client, server = pair
    words = np.arange(1000, dtype=np.uint64).reshape(10, 100)
    parts = [words, b"abc", memoryview(b"defg"), bytearray(3), np.empty((0, 4), np.uint64)]
    client.send_data(parts)
    assert server.receive_data(8010) == words.tobytes() + b"abcdefg\0\0\0"
    assert client.counters.snapshot().sent[Kind.DATA] == Tally(1, 8010)


def test_both_directions_at_once(pair: Pair, in_background: Background) -> None:
    words = np.arange(2**20, dtype=np.uint64)  # 8 MiB: more than any buffer between them

    def exchange(channel: Channel) -> bool:
        for _ in range(3):
            channel.send_data([words])
            if channel.receive_data(words.nbytes) != words.tobytes():
                return False
        return True

    assert all(each.result(30) for each in [in_background(exchange, end) for end in pair])


def test_what_is_received_can_be_written_to(pair: Pair) -> None:
    pair[0].send_data([np.ones(4, np.uint64)])
    words = np.frombuffer(pair[1].receive_data(32), np.uint64)
    words += np.uint64(1)
    assert words.tolist() == [2, 2, 2, 2]


def test_control_records_keep_type_and_fields(pair: Pair) -> None:
    client, server = pair
    client.send_control(Ask("bert", 128))
    client.send_control(Told(["a", "b"]))
    assert server.receive_control(Ask) == Ask("bert", 128)
    assert server.receive_control(Ask, Told) == Told(["a", "b"])


@pytest.mark.parametrize("size", [0, 1, BULK_CHUNK_BYTES, 2 * BULK_CHUNK_BYTES + 5])
def test_bulk_in_memory(pair: Pair, in_background: Background, size: int) -> None:
    client, server = pair
    content = os.urandom(size)
    sending = in_background(client.send_bulk, [content[:100], content[100:]], size)
    assert server.receive_bulk(size) == content
    sending.result(10)


def test_bulk_into_a_sink(pair: Pair, in_background: Background) -> None:
    client, server = pair
    content = os.urandom(3 * BULK_CHUNK_BYTES + 1)
    sending = in_background(client.send_bulk, [content], len(content))
    sink = io.BytesIO()
    assert server.receive_bulk_into(sink, len(content)) == len(content)
    assert sink.getvalue() == content
    sending.result(10)


def test_a_bulk_transfer_that_breaks_off_at_its_source(loopback_pair: Pair) -> None:
    client, server = loopback_pair

    def broken() -> Iterator[bytes]:
        yield bytes(BULK_CHUNK_BYTES)
        raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        client.send_bulk(broken(), 3 * BULK_CHUNK_BYTES)
    with pytest.raises(PeerError, match="the client reports: a bulk transfer broke off"):
        server.receive_bulk(3 * BULK_CHUNK_BYTES)


@pytest.mark.parametrize("total", [5, 7])
def test_a_bulk_total_that_lies_is_an_error_at_its_source(loopback_pair: Pair, total: int) -> None:
    client, server = loopback_pair
    with pytest.raises(ValueError, match=f"announced as {total} bytes has"):
        client.send_bulk([bytes(6)], total)
    with pytest.raises(PeerError):
        server.receive_bulk(total)


@pytest.mark.parametrize(("expected", "at_most"), [(9, False), (11, False), (9, True)])
def test_another_bulk_size_is_refused(loopback_pair: Pair, expected: int, at_most: bool) -> None:
    client, server = loopback_pair
    client.send_bulk([bytes(10)], 10)
    with pytest.raises(ProtocolError, match="announced a bulk transfer of 10 bytes"):
        server.receive_bulk(expected, at_most=at_most)
    with pytest.raises(ProtocolError, match="announced"):
        server.receive_data(100)


def test_counts_are_exact_by_direction_and_kind(pair: Pair, in_background: Background) -> None:
    client, server = pair
    before = client.counters.snapshot(), server.counters.snapshot()
    client.send_data([bytes(100)])
    client.send_data([bytes(20), bytes(3)])
    client.send_control(Ask("m", 1))
    sending = in_background(client.send_bulk, [bytes(BULK_CHUNK_BYTES + 1)], BULK_CHUNK_BYTES + 1)
    server.receive_data(100)
    server.receive_data(23)
    server.receive_control(Ask)
    server.receive_bulk(BULK_CHUNK_BYTES + 1)
    sending.result(10)
    server.send_data([bytes(7)])
    client.receive_data(7)

    there = client.counters.snapshot() - before[0]
    here = server.counters.snapshot() - before[1]
    assert there.sent[Kind.DATA] == Tally(2, 123)
    assert there.sent[Kind.DATA].wire_bytes == 123 + 2 * HEADER_BYTES
    assert there.sent[Kind.BULK] == Tally(3, 8 + BULK_CHUNK_BYTES + 1)
    assert there.sent[Kind.CONTROL].frames == 1
    assert there.received.total == there.received[Kind.DATA] == Tally(1, 7)
    for kind in Kind:
        assert there.sent[kind] == here.received[kind]
        assert there.received[kind] == here.sent[kind]


def test_a_snapshot_does_not_change(loopback_pair: Pair) -> None:
    client, _ = loopback_pair
    snapshot = client.counters.snapshot()
    client.send_data([b"x"])
    assert snapshot.sent.total == Tally()


def test_an_error_reaches_the_peer_with_its_text(pair: Pair) -> None:
    client, server = pair
    client.send_error("the stock is used up")
    with pytest.raises(PeerError, match=r"^the client reports: the stock is used up$"):
        server.receive_data(10)
    with pytest.raises(PeerError, match="used up"):
        server.receive_control(Ask)
    with pytest.raises(ConnectionFailed, match="this side has reported an error to the server"):
        client.send_data([b"x"])


def test_error_text_is_bounded_and_printable(loopback_pair: Pair) -> None:
    client, server = loopback_pair
    client.send_error("\x1b[2J\x00bell\x07\u202e" + "line\n" + "ä" * 5000)
    with pytest.raises(PeerError) as caught:
        server.receive_data(10)
    text = str(caught.value).removeprefix("the client reports: ")
    assert text.startswith("[2Jbellline ä")
    assert len(text.encode()) <= 1024
    assert all(character.isprintable() for character in text)


def test_goodbye_is_told_from_an_accident(pair: Pair) -> None:
    client, server = pair
    client.send_data([b"last"])
    client.close()
    assert server.receive_data(4) == b"last"
    with pytest.raises(PeerLeft, match="the client ended the conversation; a DATA frame was due"):
        server.receive_data(4)


def test_leaving_by_an_exception_tells_the_peer_but_not_why(pair: Pair) -> None:
    client, server = pair
    with pytest.raises(RuntimeError), client:
        raise RuntimeError("a secret")
    with pytest.raises(PeerError, match="it stopped because of an error on its side") as caught:
        server.receive_data(4)
    assert "secret" not in str(caught.value)


def test_close_twice_and_then_nothing_works(pair: Pair) -> None:
    client, _ = pair
    client.close()
    client.close()
    for call in (lambda: client.send_data([b"x"]), lambda: client.receive_data(1), client.flush):
        with pytest.raises(ConnectionFailed, match="to the server is closed on this side"):
            call()
    client.send_error("nobody hears it")


def test_flush_gives_the_buffers_back(pair: Pair) -> None:
    client, server = pair
    words = np.zeros(100_000, np.uint64)
    client.send_data([words])
    client.flush()
    words += np.uint64(1)
    assert not any(server.receive_data(words.nbytes))


def test_what_cannot_be_sent_is_refused(loopback_pair: Pair) -> None:
    client, server = loopback_pair
    with pytest.raises(ValueError, match="at least one byte"):
        client.send_data([b""])
    with pytest.raises(ValueError, match="contiguous"):
        client.send_data([np.zeros((4, 4), np.uint64)[:, 1]])
    huge = memoryview(np.broadcast_to(np.uint8(0), (2**20,)).copy())
    with pytest.raises(InputError, match="smaller batch"):
        client.send_data([huge] * 2049)
    with pytest.raises(TypeError, match="not a dict"):
        client.send_control({"a": 1})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the limit is 10"):
        client.send_control(Ask("bert", 1), limit=10)
    client.send_data([b"still works"])
    assert server.receive_data(100) == b"still works"


def test_a_repr_names_the_peer_only(loopback_pair: Pair) -> None:
    assert repr(loopback_pair[0]) == "Channel(peer=server)"


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("data"), st.binary(min_size=1, max_size=70_000)),
            st.tuples(st.just("bulk"), st.binary(max_size=70_000)),
            st.tuples(st.just("control"), st.text(max_size=50)),
        ),
        max_size=8,
    )
)
def test_any_sequence_of_messages_arrives(messages: list[tuple[str, Any]]) -> None:
    client, server = channel_pair(CLIENT, SERVER)
    with client, server:
        for kind, content in messages:
            if kind == "data":
                client.send_data([content])
            elif kind == "bulk":
                client.send_bulk([content], len(content))
            else:
                client.send_control(Ask(content, len(content)))
        for kind, content in messages:
            if kind == "data":
                assert server.receive_data(len(content)) == content
            elif kind == "bulk":
                assert server.receive_bulk(len(content)) == content
            else:
                assert server.receive_control(Ask) == Ask(content, len(content))
        assert client.counters.snapshot().sent == server.counters.snapshot().received


def test_a_sink_that_fails_tells_the_peer(loopback_pair: Pair) -> None:
    client, server = loopback_pair

    class Full(io.BytesIO):
        def write(self, content: object) -> int:
            raise OSError(28, "No space left on device")

    client.send_bulk([bytes(10)], 10)
    with pytest.raises(OSError, match="No space left"):
        server.receive_bulk_into(Full(), 10)
    with pytest.raises(PeerError, match="the server reports: a bulk transfer could not be stored"):
        client.receive_data(1)


def test_a_receiver_names_what_it_allows(loopback_pair: Pair) -> None:
    with pytest.raises(TypeError, match="say which control messages are allowed"):
        loopback_pair[0].receive_control()
