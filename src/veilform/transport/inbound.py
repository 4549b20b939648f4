"""Frames that come in: numbered, checked, bounded and timed, one after another."""

from __future__ import annotations

import time
from typing import NoReturn

from veilform.errors import ConnectionFailed, ProtocolError
from veilform.transport.control import TEXT_LIMIT_BYTES, printable
from veilform.transport.counters import Counters
from veilform.transport.frames import HEADER_BYTES, Header, Kind, check_length, decode_header
from veilform.transport.settings import Settings
from veilform.transport.streams import Deadline, Stream

_LAST_WORDS_S = 1.0
_LAST_WORDS_BYTES = 2**26


class PeerLeft(ConnectionFailed):
    """The peer ended the conversation in the regular way, by a BYE frame."""


class PeerError(ProtocolError):
    """The peer stopped and said why, in an ERROR frame."""


class Inbound:
    """One direction of a framed connection, read by one thread at a time. Errors name ``peer``.

    After an error nothing more can be read, and the caller sees to that.
    """

    def __init__(self, stream: Stream, peer: str, settings: Settings, counters: Counters) -> None:
        self._stream = stream
        self._peer = peer
        self._settings = settings
        self._counters = counters
        self._received = 0
        self._kind = Kind.BYE
        self._length = 0
        self._unread = 0
        self._patience_s = 0.0  # what may still be waited for the payload

    @property
    def unread(self) -> int:
        """Payload bytes of the last frame that were not read yet."""
        return self._unread

    def expect(self, kind: Kind, low: int, high: int, timeout_s: float | None) -> int:
        """Read the next header; the payload length, when kind and length are allowed.

        Args:
            timeout_s: seconds to wait for it, when not as in the settings.

        Raises:
            ProtocolError, PeerLeft, ConnectionFailed: see `Framing.receive`.
            OSError: the stream failed.
        """
        patience = self._settings.timeout_s if timeout_s is None else timeout_s
        header = self._read_header(patience, f"{kind.name} frame")
        if header.kind is Kind.ERROR:
            self._raise_report(header)
        if header.kind is Kind.BYE:
            check_length(header, 0, 0, self._peer)
            self._counters.count_received(Kind.BYE, 0)
            raise PeerLeft(f"{self._peer} ended the conversation; a {kind.name} frame was due")
        if header.kind is not kind:
            raise ProtocolError(
                f"{self._peer} sent a {header.kind.name} frame where {kind.name} is due"
            )
        check_length(header, low, high, self._peer)
        self._begin_payload(header)
        return header.length

    def _begin_payload(self, header: Header) -> None:
        self._kind = header.kind
        self._unread = self._length = header.length
        self._patience_s = (
            self._settings.timeout_s + header.length / self._settings.slowest_bytes_per_s
        )

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

    def read(self, view: memoryview) -> None:
        """The next ``len(view)`` bytes of the payload. All its reads share the frame's time."""
        start = time.monotonic()
        try:
            count = self._stream.receive_exactly_into(view, max(self._patience_s, 0.0))
        except TimeoutError:
            allowed = self._settings.timeout_s + self._length / self._settings.slowest_bytes_per_s
            raise ConnectionFailed(
                f"a {self._kind.name} frame from {self._peer} was not complete after {allowed:g} s"
            ) from None
        self._patience_s -= time.monotonic() - start
        if count < len(view):
            raise ConnectionFailed(f"{self._peer} ended the connection in the middle of a frame")
        self._unread -= len(view)
        if not self._unread:
            self._counters.count_received(self._kind, self._length)

    def hear_last_words(self) -> None:
        """Look for the reason that a peer gave before it hung up, for a second.

        Raises:
            ProtocolError: there is one (`PeerError`), or what came is no frame.
            ConnectionFailed, OSError: there is none.
        """
        deadline = Deadline(_LAST_WORDS_S)
        heard = self._unread
        self._skip(min(heard, _LAST_WORDS_BYTES), deadline)
        while heard < _LAST_WORDS_BYTES:
            header = self._read_header(deadline.left(), "frame")
            if header.kind is Kind.ERROR:
                self._raise_report(header)
            heard += HEADER_BYTES + header.length
            self._skip(min(header.length, _LAST_WORDS_BYTES), deadline)

    def _raise_report(self, header: Header) -> NoReturn:
        words = bytearray(check_length(header, 0, TEXT_LIMIT_BYTES, self._peer))
        self._begin_payload(header)
        self.read(memoryview(words))
        text = printable(words.decode(errors="replace")) or "an error without a text"
        raise PeerError(f"{self._peer} reports: {text}")

    def _skip(self, length: int, deadline: Deadline) -> None:
        scratch = memoryview(bytearray(min(length, 2**16)))
        while length:
            piece = scratch[: min(length, len(scratch))]
            if self._stream.receive_exactly_into(piece, deadline.left()) < len(piece):
                raise ConnectionError("ended")
            length -= len(piece)
