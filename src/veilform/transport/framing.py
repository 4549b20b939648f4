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
from veilform.transport.control import printable
from veilform.transport.counters import Counters
from veilform.transport.frames import (
    MAX_PAYLOAD_BYTES,
    Kind,
    encode_header,
)
from veilform.transport.inbound import Inbound
from veilform.transport.settings import Settings
from veilform.transport.streams import Stream, empty
from veilform.transport.writer import Writer

_LAST_WORDS_S = 1.0


class Framing:
    """One end of a framed connection. Errors name ``peer``.

    One thread may send while another receives.
    """

    def __init__(self, stream: Stream, peer: Role, settings: Settings) -> None:
        self.counters = Counters()
        self._stream = stream
        self._peer = f"the {peer.value}"
        self._settings = settings
        self._inbound = Inbound(stream, self._peer, settings, self.counters)
        self._broken: VeilformError | None = None
        self._closed = False
        self._said_last = False
        self._sent = 0
        self._unsent = 0  # bytes missing in the frame begun last
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
        self.begin(kind, sum(len(view) for view in views), views)

    def begin(self, kind: Kind, size: int, views: Sequence[memoryview]) -> None:
        """Queue a frame of ``size`` bytes as far as it is there. `go_on` completes it.

        Raises:
            ValueError: the frame before is not complete, or this one has more than its size.
            InputError, ConnectionFailed, ProtocolError: as in `send`.
        """
        if size > MAX_PAYLOAD_BYTES:
            raise InputError(
                f"a message of {size} bytes exceeds the {MAX_PAYLOAD_BYTES} bytes of a frame: "
                "use a smaller batch"
            )
        with self._send_lock:
            self._check()
            if self._unsent:
                raise ValueError(f"{self._unsent} bytes are missing in the frame before")
            header = memoryview(encode_header(kind, size, self._sent))
            self._unsent = size
            self._sent += 1
            self._put(views, header)
            self.counters.count_sent(kind, size)

    def go_on(self, views: Sequence[memoryview]) -> None:
        """Queue the next part of the frame begun last. Raises as `begin`."""
        with self._send_lock:
            self._check()
            self._put(views)

    def _put(self, views: Sequence[memoryview], *header: memoryview) -> None:
        size = sum(len(view) for view in views)
        if size > self._unsent:
            raise ValueError(f"{size} bytes do not fit into the {self._unsent} left of a frame")
        try:
            self._writer.put([*header, *views], self._settings.timeout_s)
        except TimeoutError:
            self._fail(ConnectionFailed(self._not_taking()))
        if self._writer.failure is not None:
            self._check()
        self._unsent -= size

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
            self._inbound.read(payload)
        return payload

    def open(self, kind: Kind, low: int, high: int, timeout_s: float | None = None) -> int:
        """Like `receive`, the header alone: the payload's length. `read_on` takes it in parts."""
        with self._receive_lock, self._guard():
            return self._expect(kind, low, high, timeout_s)

    def read_on(self, view: memoryview) -> None:
        """The next ``len(view)`` bytes of the frame opened last, into ``view``."""
        with self._receive_lock, self._guard():
            if len(view) > self._inbound.unread:
                raise ValueError(f"{self._inbound.unread} bytes are left of a frame")
            self._inbound.read(view)

    def receive_into(self, kind: Kind, view: memoryview) -> None:
        """Like `receive`, for a frame of exactly ``len(view)`` bytes, into ``view``."""
        with self._receive_lock, self._guard():
            self._expect(kind, len(view), len(view))
            self._inbound.read(view)

    def reject(self, text: str) -> NoReturn:
        """Refuse what the peer sent in the last frame. Nothing more can be received.

        Raises:
            ProtocolError: always, with ``text``.
        """
        self._fail(ProtocolError(text))

    def send_error(self, text: str) -> None:
        """Tell the peer why this side stops: at most 1 KiB of printable text, nothing secret.

        Does nothing where the peer cannot hear it any more: it is gone, or in the middle of a
        frame, whose end it will miss. Nothing can be sent afterwards.
        """
        words = memoryview(printable(text).encode())
        with self._send_lock:
            if self._said_last or self._closed or self._writer.failure is not None:
                return
            if self._unsent:  # what follows would pass for the rest of the frame
                self._broken = self._broken or ConnectionFailed(
                    f"this side stopped in the middle of a frame to {self._peer}"
                )
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
            sound = self._broken is None and self._writer.failure is None
            if sound and not reported and not self._unsent:
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
        if self._inbound.unread:
            raise ValueError(f"{self._inbound.unread} bytes of the frame before were not read")
        return self._inbound.expect(kind, low, high, timeout_s)

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
        except ValueError:  # a call that does not fit here: nothing was read
            raise
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
            self._inbound.hear_last_words()
        except ProtocolError as error:
            self._broken = error
            raise
        except (ConnectionFailed, OSError):
            pass
        finally:
            self._receive_lock.release()

    def _fail(self, error: VeilformError, cause: BaseException | None = None) -> NoReturn:
        self._broken = error
        raise error from cause

    def _not_taking(self) -> str:
        return f"{self._peer} has taken nothing for {self._settings.timeout_s:g} s"


def _reason(error: BaseException) -> str:
    """A short text for an error of a stream or of the writer thread."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return printable(text, 200) or type(error).__name__
