"""The in-process stream ends as a socket ends."""

from __future__ import annotations

import threading

import pytest

from veilform.transport import stream_pair


def read(stream: object, size: int, timeout_s: float = 1.0) -> bytes:
    content = bytearray(size)
    count = stream.receive_exactly_into(memoryview(content), timeout_s)  # type: ignore[attr-defined]
    return bytes(content[:count])


def test_bytes_keep_their_order_across_pieces() -> None:
    left, right = stream_pair()
    left.send_all([memoryview(b"abc"), memoryview(b"defgh")], 1.0)
    assert read(right, 2) == b"ab"
    assert read(right, 6) == b"cdefgh"


def test_the_senders_buffer_may_change_afterwards() -> None:
    left, right = stream_pair()
    content = bytearray(b"abc")
    left.send_all([memoryview(content)], 1.0)
    content[:] = b"xyz"
    assert read(right, 3) == b"abc"


def test_what_was_written_before_a_close_is_read_then_comes_the_end() -> None:
    left, right = stream_pair()
    left.send_all([memoryview(b"abc")], 1.0)
    left.close()
    left.close()
    assert read(right, 5) == b"abc"
    assert read(right, 5) == b""
    with pytest.raises(BrokenPipeError):
        right.send_all([memoryview(b"x")], 1.0)


def test_a_closed_end_can_do_nothing() -> None:
    left, _ = stream_pair()
    left.close()
    with pytest.raises(ConnectionAbortedError):
        left.send_all([memoryview(b"x")], 1.0)
    with pytest.raises(ConnectionAbortedError):
        read(left, 1)


@pytest.mark.parametrize("closer", [0, 1])
def test_a_close_at_either_end_wakes_a_reader(closer: int) -> None:
    pair = stream_pair()
    outcome: list[object] = []

    def wait() -> None:
        try:
            outcome.append(read(pair[1], 1, 30.0))
        except ConnectionAbortedError as error:
            outcome.append(type(error))

    reader = threading.Thread(target=wait)
    reader.start()
    pair[closer].close()
    reader.join(5.0)
    assert outcome in ([b""], [ConnectionAbortedError])


def test_a_full_pipe_and_an_empty_one_meet_the_deadline() -> None:
    left, right = stream_pair(capacity_bytes=4)
    left.send_all([memoryview(b"12345")], 1.0)
    with pytest.raises(TimeoutError):
        left.send_all([memoryview(b"6")], 0.01)
    assert read(right, 5) == b"12345"
    with pytest.raises(TimeoutError):
        read(right, 1, 0.01)
