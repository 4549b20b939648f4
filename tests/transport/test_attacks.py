"""What a hostile or broken peer may write, byte for byte, and what a channel makes of it."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from veilform.errors import ConnectionFailed, ProtocolError, VeilformError
from veilform.roles import CLIENT
from veilform.transport import Channel, Control, PeerError, PeerLeft, Settings, Stream, stream_pair
from veilform.transport.control import decode_control
from veilform.transport.frames import Kind, encode_header

IMPATIENT = Settings(timeout_s=0.05, close_timeout_s=1.0)


class Ask(Control, frozen=True):
    model: str
    tokens: list[int]


def frame(kind: Kind, payload: bytes, sequence: int) -> bytes:
    return encode_header(kind, len(payload), sequence) + payload


@contextmanager
def victim(*written: bytes, ends: bool = True, limits: Settings | None = None) -> Iterator[Channel]:
    """A channel whose peer, the client, has written these bytes and (``ends``) hung up."""
    theirs, ours = stream_pair()
    channel = Channel(ours, CLIENT, limits or Settings(timeout_s=5.0, close_timeout_s=1.0))
    theirs.send_all([memoryview(each) for each in written if each], 1.0)
    if ends:
        theirs.close()
    with channel:
        yield channel
    theirs.close()


def repeat(call: Callable[[], object], times: int) -> None:
    for _ in range(times):
        call()


def test_a_replayed_frame() -> None:
    first = frame(Kind.DATA, b"abc", 0)
    with victim(first, first) as channel:
        channel.receive_data(3)
        with pytest.raises(ProtocolError, match="number 0 where 1 is due: replayed or reordered"):
            channel.receive_data(3)


def test_reordered_frames() -> None:
    with (
        victim(frame(Kind.DATA, b"b", 1), frame(Kind.DATA, b"a", 0)) as channel,
        pytest.raises(ProtocolError, match="number 1 where 0 is due: frames are missing"),
    ):
        channel.receive_data(1)


def test_after_a_failure_nothing_more_is_read() -> None:
    with victim(frame(Kind.DATA, b"b", 1), frame(Kind.DATA, b"a", 0)) as channel:
        for _ in range(2):
            with pytest.raises(ProtocolError, match="number 1 where 0 is due"):
                channel.receive_data(1)
        with pytest.raises(ProtocolError, match="number 1 where 0 is due"):
            channel.send_data([b"x"])


@pytest.mark.parametrize("length", [0, 101, 2**31, 2**32 - 1])
def test_a_data_frame_of_another_length_allocates_nothing(length: int) -> None:
    header = bytearray(encode_header(Kind.DATA, 0, 0))
    header[4:8] = length.to_bytes(4, "little")
    with victim(bytes(header)) as channel:
        tracemalloc.start()
        with pytest.raises(ProtocolError, match=rf"of {length} bytes, allowed here: 1 to 100$"):
            channel.receive_data(100)
        assert tracemalloc.get_traced_memory()[1] < 2**20
        tracemalloc.stop()


@pytest.mark.parametrize("cut", [1, 15])
def test_an_end_within_a_header(cut: int) -> None:
    with (
        victim(frame(Kind.DATA, b"abc", 0)[:cut]) as channel,
        pytest.raises(ConnectionFailed, match=r"the client ended .* in the middle of a frame"),
    ):
        channel.receive_data(3)


@pytest.mark.parametrize("cut", [16, 18])
def test_an_end_within_a_payload(cut: int) -> None:
    with (
        victim(frame(Kind.DATA, b"abc", 0)[:cut]) as channel,
        pytest.raises(ConnectionFailed, match=r"the client ended .* in the middle of a frame"),
    ):
        channel.receive_data(3)


def test_an_end_between_frames_without_a_goodbye() -> None:
    with victim(frame(Kind.DATA, b"abc", 0)) as channel:
        channel.receive_data(3)
        with pytest.raises(ConnectionFailed, match="without a goodbye; a DATA frame was due") as e:
            channel.receive_data(3)
        assert not isinstance(e.value, PeerLeft)


@pytest.mark.parametrize(
    ("call", "due"),
    [
        (lambda channel: channel.receive_control(Ask), "CONTROL"),
        (lambda channel: channel.receive_bulk(3), "BULK"),
    ],
)
def test_a_frame_of_another_kind(call: Callable[[Channel], object], due: str) -> None:
    with (
        victim(frame(Kind.DATA, b"abc", 0)) as channel,
        pytest.raises(ProtocolError, match=f"the client sent a DATA frame where {due} is due"),
    ):
        call(channel)


def test_silence_meets_the_deadline() -> None:
    with (
        victim(ends=False, limits=IMPATIENT) as channel,
        pytest.raises(ConnectionFailed, match=r"no DATA frame came from the client within 0\.05 s"),
    ):
        channel.receive_data(3)


def test_a_trickle_meets_the_deadline() -> None:
    with (
        victim(frame(Kind.DATA, b"abc", 0)[:-1], ends=False, limits=IMPATIENT) as channel,
        pytest.raises(ConnectionFailed, match="a DATA frame from the client was not complete"),
    ):
        channel.receive_data(3)


def test_an_error_report_is_bounded() -> None:
    with (
        victim(frame(Kind.ERROR, b"x" * 1025, 0)) as channel,
        pytest.raises(ProtocolError, match="ERROR frame of 1025 bytes, allowed here: 0 to 1024"),
    ):
        channel.receive_data(3)


def test_an_error_report_cannot_drive_a_terminal() -> None:
    with (
        victim(frame(Kind.ERROR, b"\x1b]0;owned\x07 \xff\xfe ok\r\n", 0)) as channel,
        pytest.raises(PeerError) as caught,
    ):
        channel.receive_data(3)
    assert str(caught.value).isprintable()


def test_a_goodbye_has_no_payload() -> None:
    with (
        victim(frame(Kind.BYE, b"x", 0)) as channel,
        pytest.raises(ProtocolError, match="BYE frame of 1 bytes"),
    ):
        channel.receive_data(3)


@pytest.mark.parametrize("pieces", [[3, 7], [11], [10, 1]])
def test_bulk_frames_have_the_one_possible_length(pieces: list[int]) -> None:
    frames = [frame(Kind.BULK, (10).to_bytes(8, "little"), 0)]
    frames += [frame(Kind.BULK, bytes(size), 1 + n) for n, size in enumerate(pieces)]
    with victim(*frames) as channel, pytest.raises(ProtocolError, match="BULK frame"):
        repeat(lambda: channel.receive_bulk(10), 2)


def test_a_bulk_total_beyond_the_limit_allocates_nothing() -> None:
    with victim(frame(Kind.BULK, b"\xff" * 8, 0)) as channel:
        tracemalloc.start()
        with pytest.raises(ProtocolError, match="due here: at most 1000"):
            channel.receive_bulk(1000, at_most=True)
        assert tracemalloc.get_traced_memory()[1] < 2**20
        tracemalloc.stop()


PACK = msgspec.msgpack.encode


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (PACK({"type": "Ask", "model": "m", "tokens": [], "admin": 1}), "unknown field `admin`"),
        (PACK({"type": "Ask", "model": 5, "tokens": []}), "Expected `str`, got `int`"),
        (PACK({"type": "Ask", "model": "m", "tokens": ["1"]}), "Expected `int`, got `str`"),
        (PACK({"type": "Ask", "model": "m"}), "missing required field `tokens`"),
        (PACK({"type": "Told", "model": "m", "tokens": []}), "Invalid value 'Told'"),
        (PACK({"model": "m", "tokens": []}), "missing required field `type`"),
        (PACK({"type": "_Nothing"}), "another message"),
        (PACK(["Ask", "m", []]), "Expected `object`"),
        (PACK({"type": "Ask", "model": "m", "tokens": []}) + b"\0", "malformed"),
        (b"\x82\xa4type\xa3Ask\xa6tokens\xdd\xff\xff\xff\xff", "truncated"),
        (b"\x91" * 100_000, "Expected `object`"),
        (b"\xc1", "Expected|malformed"),
    ],
)
def test_a_control_record_that_is_not_what_was_asked_for(payload: bytes, says: str) -> None:
    with (
        victim(frame(Kind.CONTROL, payload, 0)) as channel,
        pytest.raises(ProtocolError, match=f"control message that is no valid Ask: .*{says}"),
    ):
        channel.receive_control(Ask)


def test_a_control_record_that_is_too_long() -> None:
    with (
        victim(frame(Kind.CONTROL, bytes(2**20 + 1), 0)) as channel,
        pytest.raises(ProtocolError, match="CONTROL frame of 1048577 bytes"),
    ):
        channel.receive_control(Ask)


def test_a_control_type_must_be_strict() -> None:
    class Loose(Control, frozen=True, forbid_unknown_fields=False):
        pass

    with pytest.raises(TypeError, match="refuse unknown fields"):
        decode_control(bytearray(b"\x80"), (Loose,), "the client")
    with pytest.raises(TypeError, match="no subclass of Control"):
        decode_control(bytearray(b"\x80"), (dict,), "the client")  # type: ignore[type-var]


CALLS: list[Callable[[Channel], object]] = [
    lambda channel: channel.receive_data(1000),
    lambda channel: channel.receive_control(Ask, limit=1000),
    lambda channel: channel.receive_bulk(1000, at_most=True),
]
FRAMES = st.builds(frame, st.sampled_from(Kind), st.binary(max_size=40), st.integers(0, 3))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=60), FRAMES), max_size=6), st.sampled_from([0, 1, 2]))
@example([frame(Kind.CONTROL, b"\xd9\xff", 0)], 1)
def test_any_bytes_end_in_an_error_of_ours(written: list[bytes], which: int) -> None:
    with victim(*written) as channel, pytest.raises(VeilformError):
        repeat(lambda: CALLS[which](channel), 10)


class Broken(Stream):
    """A stream whose sending side fails, with more to read or not."""

    def __init__(self, inner: Stream, error: Exception) -> None:
        self.inner = inner
        self.error = error
        self.failed = threading.Event()

    def send_all(self, buffers: object, timeout_s: float) -> None:
        self.failed.set()
        raise self.error

    def receive_exactly_into(self, view: memoryview, timeout_s: float) -> int:
        return self.inner.receive_exactly_into(view, timeout_s)

    def close(self, linger_s: float = 0.0) -> None:
        self.inner.close(linger_s)


def failed_channel(stream: Broken) -> Channel:
    """A channel whose writer thread has just failed."""
    channel = Channel(stream, CLIENT, Settings(timeout_s=5.0))
    with suppress(VeilformError):  # it may be that quick
        channel.send_data([b"x"])
    for thread in threading.enumerate():
        if thread.name == "veilform-writer":
            thread.join(5.0)
    return channel


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ConnectionResetError(104, "Connection reset by peer"), "Connection reset by peer"),
        (TimeoutError(), "TimeoutError"),
        (RuntimeError("a bug"), "a bug"),
    ],
)
def test_a_failure_of_the_writer_thread_surfaces(error: Exception, says: str) -> None:
    theirs, ours = stream_pair()
    theirs.close()
    with failed_channel(Broken(ours, error)) as channel:
        for call in (channel.flush, lambda: channel.send_data([b"y"]), lambda: CALLS[0](channel)):
            with pytest.raises(ConnectionFailed, match=f"cannot send to the client: {says}"):
                call()


def test_a_peer_that_refuses_and_hangs_up_is_still_heard() -> None:
    theirs, ours = stream_pair()
    said = [frame(Kind.DATA, b"under way", 0), frame(Kind.ERROR, b"wrong model", 1)]
    theirs.send_all([memoryview(each) for each in said], 1.0)
    theirs.close()
    with (
        failed_channel(Broken(ours, BrokenPipeError())) as channel,
        pytest.raises(PeerError, match="the client reports: wrong model"),
    ):
        channel.send_data([b"y"])


def test_a_peer_that_reads_nothing_meets_the_deadline() -> None:
    theirs, ours = stream_pair(capacity_bytes=1)
    limits = Settings(timeout_s=0.1, queue_bytes=1000, close_timeout_s=0.1)
    with (
        Channel(ours, CLIENT, limits) as channel,
        pytest.raises(
            ConnectionFailed, match=r"the client has taken nothing for 0\.1 s|cannot send"
        ),
    ):
        repeat(lambda: channel.send_data([bytes(900)]), 10)
    theirs.close()


class Interrupted(Stream):
    """A stream on which someone presses Ctrl-C."""

    def send_all(self, buffers: object, timeout_s: float) -> None:
        pass

    def receive_exactly_into(self, view: memoryview, timeout_s: float) -> int:
        raise KeyboardInterrupt

    def close(self, linger_s: float = 0.0) -> None:
        pass


def test_an_interrupted_receive_is_not_continued() -> None:
    with Channel(Interrupted(), CLIENT) as channel:
        with pytest.raises(KeyboardInterrupt):
            channel.receive_data(1)
        with pytest.raises(ConnectionFailed, match="receiving from the client was interrupted"):
            channel.receive_data(1)


def test_flush_meets_the_deadline() -> None:
    theirs, ours = stream_pair(capacity_bytes=1)
    limits = Settings(timeout_s=0.05, slowest_bytes_per_s=1.0, close_timeout_s=0.05)
    with Channel(ours, CLIENT, limits) as channel:
        channel.send_data([bytes(100)])  # has 100 s by its length
        with pytest.raises(ConnectionFailed, match=r"the client has taken nothing for 0\.05 s"):
            channel.flush()
    theirs.close()
