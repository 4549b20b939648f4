"""Frames over a stream: numbering, checking, counting, and what happens when something breaks.

Nothing is sent or received after the first failure: a stream that lost its place cannot be trusted
to find it again.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import NoReturn

from veilform.errors import ConnectionFailed, InputError, ProtocolError, VeilformError
from veilform.roles import Role
from veilform.transport.control import TEXT_LIMIT_BYTES, printable
from veilform.transport.counters import Counters
from veilform.transport.frames import (
    HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    Header,
    Kind,
    check_length,
    decode_header,
    encode_header,
)
from veilform.transport.settings import Settings
from veilform.transport.streams import Deadline, Stream, empty
from veilform.transport.writer import Writer

_LAST_WORDS_S = 1.0
_LAST_WORDS_BYTES = 2**26


class PeerLeft(ConnectionFailed):
    """The peer ended the conversation in the regular way, by a BYE frame."""


class PeerError(ProtocolError):
    """The peer stopped and said why, in an ERROR frame."""


class Framing:
    """One end of a framed connection. Errors name ``peer``.

    One thread may send while another receives.
    """

    def __init__(self, stream: Stream, peer: Role, settings: Settings) -> None:
        self.counters = Counters()
        self._stream = stream
        self._peer = f"the {peer.value}"
        self._settings = settings
        self._broken: VeilformError | None = None
        self._closed = False
        self._said_last = False
        self._sent = 0
        self._received = 0
        self._send_lock = threading.RLock()
        self._receive_lock = threading.RLock()
        self._writer = Writer(
            stream, settings.queue_bytes, settings.timeout_s, settings.slowest_bytes_per_s
        )

    def send(self, kind: Kind, views: Sequence[memoryview]) -> None:
        """Queue one frame. The views must stay unchanged until it is sent (`flush`).

        Raises:
            InputError: the payload exceeds 2^31 bytes.
            ConnectionFailed: the peer takes nothing, or is gone.
            ProtocolError: the peer had reported an error.
        """
        size = sum(len(view) for view in views)
        if size > MAX_PAYLOAD_BYTES:
            raise InputError(
                f"a message of {size} bytes exceeds the {MAX_PAYLOAD_BYTES} bytes of a frame: "
                "use a smaller batch"
            )
        with self._send_lock:
            self._check()
            header = memoryview(encode_header(kind, size, self._sent))
            try:
                self._writer.put([header, *views], self._settings.timeout_s)
            except TimeoutError:
                self._fail(ConnectionFailed(self._not_taking()))
            if self._writer.failure is not None:
                self._check()
            self._sent += 1
            self.counters.count_sent(kind, size)

    def flush(self) -> None:
        """Wait until all frames were handed to the network, so that buffers may change again.

        Raises:
            ConnectionFailed: the peer takes nothing, or is gone.
        """
        self._check()
        try:
            self._writer.flush(self._settings.timeout_s)
        except TimeoutError:
            self._fail(ConnectionFailed(self._not_taking()))
        self._check()

    def receive(
        self, kind: Kind, low: int, high: int, timeout_s: float | None = None
    ) -> memoryview:
        """The payload of the next frame, which must be of this kind and low to high bytes long.

        Args:
            timeout_s: seconds to wait for it to begin, when not as in the settings.

        Raises:
            ProtocolError: another kind or length, a damaged header, or the peer reports an error.
            PeerLeft: the peer said goodbye instead.
            ConnectionFailed: the deadline passed, or the peer is gone.
        """
        with self._receive_lock, self._guard():
            payload = empty(self._expect(kind, low, high, timeout_s))
            self._read_payload(kind, payload)
        return payload

    def receive_into(self, kind: Kind, view: memoryview) -> None:
        """Like `receive`, for a frame of exactly ``len(view)`` bytes, into ``view``."""
        with self._receive_lock, self._guard():
            self._expect(kind, len(view), len(view))
            self._read_payload(kind, view)

    def reject(self, text: str) -> NoReturn:
        """Refuse what the peer sent in the last frame. Nothing more can be received.

        Raises:
            ProtocolError: always, with ``text``.
        """
        self._fail(ProtocolError(text))

    def send_error(self, text: str) -> None:
        """Tell the peer why this side stops: at most 1 KiB of printable text, nothing secret.

        Does nothing where the peer cannot hear it any more. Nothing can be sent afterwards.
        """
        words = memoryview(printable(text).encode())
        with self._send_lock:
            if self._said_last or self._closed or self._writer.failure is not None:
                return
            with contextlib.suppress(TimeoutError):
                header = memoryview(encode_header(Kind.ERROR, len(words), self._sent))
                self._writer.put([header, words], self._settings.close_timeout_s)
                self._sent += 1
                self.counters.count_sent(Kind.ERROR, len(words))
            self._said_last = True
            if self._broken is None:
                self._broken = ConnectionFailed(f"this side has reported an error to {self._peer}")

    def close(self) -> None:
        """Send what is queued, say BYE, end the thread and the stream. May be called again."""
        with self._send_lock:
            if self._closed:
                return
            reported = self._said_last
            if not reported and self._broken is None and self._writer.failure is None:
                with contextlib.suppress(TimeoutError):
                    header = memoryview(encode_header(Kind.BYE, 0, self._sent))
                    self._writer.put([header], self._settings.close_timeout_s)
                    self._sent += 1
                    self.counters.count_sent(Kind.BYE, 0)
            self._closed = True
        if not self._writer.stop(self._settings.close_timeout_s):
            self._stream.close()
            self._writer.stop(self._settings.timeout_s)
        self._stream.close(linger_s=_LAST_WORDS_S if reported else 0.0)

    def _expect(self, kind: Kind, low: int, high: int, timeout_s: float | None = None) -> int:
        """Read the next header; the payload length, when kind and length are allowed."""
        patience = self._settings.timeout_s if timeout_s is None else timeout_s
        header = self._read_header(patience, f"{kind.name} frame")
        if header.kind is Kind.ERROR:
            self._raise_report(header)
        if header.kind is Kind.BYE:
            check_length(header, 0, 0, self._peer)
            self.counters.count_received(Kind.BYE, 0)
            raise PeerLeft(f"{self._peer} ended the conversation; a {kind.name} frame was due")
        if header.kind is not kind:
            raise ProtocolError(
                f"{self._peer} sent a {header.kind.name} frame where {kind.name} is due"
            )
        return check_length(header, low, high, self._peer)

    def _read_header(self, timeout_s: float, wanted: str) -> Header:
        raw = memoryview(bytearray(HEADER_BYTES))
        try:
            count = self._stream.receive_exactly_into(raw, timeout_s)
        except TimeoutError:
            raise ConnectionFailed(
                f"no {wanted} came from {self._peer} within {timeout_s:g} s: it may be overloaded, "
                "stopped or cut off"
            ) from None
        if count == 0:
            raise ConnectionFailed(
                f"{self._peer} ended the connection without a goodbye; a {wanted} was due"
            )
        if count < HEADER_BYTES:
            raise ConnectionFailed(f"{self._peer} ended the connection in the middle of a frame")
        header = decode_header(raw, self._received, self._peer)
        self._received += 1
        return header

    def _read_payload(self, kind: Kind, view: memoryview) -> None:
        timeout_s = self._settings.timeout_s + len(view) / self._settings.slowest_bytes_per_s
        try:
            count = self._stream.receive_exactly_into(view, timeout_s)
        except TimeoutError:
            raise ConnectionFailed(
                f"a {kind.name} frame from {self._peer} was not complete after {timeout_s:g} s"
            ) from None
        if count < len(view):
            raise ConnectionFailed(f"{self._peer} ended the connection in the middle of a frame")
        self.counters.count_received(kind, len(view))

    def _raise_report(self, header: Header) -> NoReturn:
        words = bytearray(check_length(header, 0, TEXT_LIMIT_BYTES, self._peer))
        self._read_payload(Kind.ERROR, memoryview(words))
        text = printable(words.decode(errors="replace")) or "an error without a text"
        raise PeerError(f"{self._peer} reports: {text}")

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        """Check before, and remember what breaks inside."""
        self._check()
        try:
            yield
        except VeilformError as error:
            self._broken = error
            raise
        except OSError as error:
            self._fail(ConnectionFailed(f"lost {self._peer}: {_reason(error)}"), error)
        except BaseException:  # an interrupt can strike in the middle of a frame
            self._broken = ConnectionFailed(f"receiving from {self._peer} was interrupted")
            raise

    def _check(self) -> None:
        """Raise what broke this connection, if anything did."""
        if self._closed:
            raise ConnectionFailed(f"this connection to {self._peer} is closed on this side")
        if self._broken is not None:
            raise type(self._broken)(*self._broken.args) from self._broken
        failure = self._writer.failure
        if failure is not None:
            self._hear_last_words()
            reason = _reason(failure)
            self._fail(ConnectionFailed(f"cannot send to {self._peer}: {reason}"), failure)

    def _hear_last_words(self) -> None:
        """A peer that refuses says why and closes. Sending fails first, so look for its reason."""
        if not self._receive_lock.acquire(blocking=False):
            return  # another thread is receiving, it will hear them
        try:
            deadline = Deadline(_LAST_WORDS_S)
            heard = 0
            while heard < _LAST_WORDS_BYTES:
                header = self._read_header(deadline.left(), "frame")
                if header.kind is Kind.ERROR:
                    self._raise_report(header)
                heard += HEADER_BYTES + header.length
                self._skip(min(header.length, _LAST_WORDS_BYTES), deadline)
        except ProtocolError as error:
            self._broken = error
            raise
        except (ConnectionFailed, OSError):
            pass
        finally:
            self._receive_lock.release()

    def _skip(self, length: int, deadline: Deadline) -> None:
        scratch = memoryview(bytearray(min(length, 2**16)))
        while length:
            piece = scratch[: min(length, len(scratch))]
            if self._stream.receive_exactly_into(piece, deadline.left()) < len(piece):
                raise ConnectionError("ended")
            length -= len(piece)

    def _fail(self, error: VeilformError, cause: BaseException | None = None) -> NoReturn:
        self._broken = error
        raise error from cause

    def _not_taking(self) -> str:
        return f"{self._peer} has taken nothing for {self._settings.timeout_s:g} s"


def _reason(error: BaseException) -> str:
    """A short text for an error of a stream or of the writer thread."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return printable(text, 200) or type(error).__name__
