"""The channel between two parties: data messages, control records, bulk transfers, errors.

Every receiving call says what it is ready to take, and nothing is allocated before the peer's
announcement has been compared with that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import BinaryIO, TypeVar, overload

from veilform.closing import Closing
from veilform.errors import ConnectionFailed, ProtocolError
from veilform.roles import Role
from veilform.transport.bulk import BULK_CHUNK_BYTES, decode_total, encode_total, frames_of
from veilform.transport.control import (
    CONTROL_LIMIT_BYTES,
    Control,
    decode_control,
    encode_control,
)
from veilform.transport.counters import Counters
from veilform.transport.frames import MAX_PAYLOAD_BYTES, Kind
from veilform.transport.framing import Framing
from veilform.transport.settings import Settings
from veilform.transport.streaming import Incoming, Outgoing
from veilform.transport.streams import Bytes, Stream, as_views, empty

A = TypeVar("A", bound=Control)
B = TypeVar("B", bound=Control)
C = TypeVar("C", bound=Control)


class Channel(Closing):
    """One end of a connection to ``peer``.

    Attributes:
        peer_key: fingerprint of the public key that the peer proved to have, on the accepting
            side; "" otherwise.

    Sending never waits for the peer while the queue has room: a thread of the channel sends. The
    buffers given to `send_data` and `send_bulk` are not copied. They belong to the channel until
    they are sent, so do not write to them again, or call `flush` first.

    One thread may send while another receives. After the first failure every call repeats it.

    Use it in ``with``: leaving in the regular way says goodbye, leaving by an exception tells the
    peer that this side stopped, without saying why.
    """

    def __init__(
        self, stream: Stream, peer: Role, settings: Settings | None = None, peer_key: str = ""
    ) -> None:
        self.peer = peer
        self.peer_key = peer_key
        self._framing = Framing(stream, peer, settings or Settings())

    def __repr__(self) -> str:
        return f"Channel(peer={self.peer.value})"

    @property
    def counters(self) -> Counters:
        """Frames and bytes so far; `Counters.snapshot` gives values to subtract."""
        return self._framing.counters

    def send_data(self, parts: Sequence[Bytes]) -> None:
        """Send one message of the online protocol: the parts, one after another, in one frame.

        Raises:
            ValueError: no bytes at all, or a part that is not contiguous.
            InputError: more than 2^31 bytes.
            ConnectionFailed: the peer takes nothing, or is gone.
            ProtocolError: the peer reported an error.
        """
        views = as_views(parts)
        if not views:
            raise ValueError("a message of the protocol has at least one byte")
        self._framing.send(Kind.DATA, views)

    def receive_data(
        self, limit: int, *, exact: bool = False, timeout_s: float | None = None
    ) -> memoryview:
        """One message of 1 to ``limit`` bytes.

        Args:
            exact: take no message shorter than ``limit`` either.
            timeout_s: seconds to wait for it to begin, when not as in the settings.

        Raises:
            ProtocolError: it is longer, empty, something else, or the peer reports an error.
            PeerLeft: the peer said goodbye instead.
            ConnectionFailed: the deadline passed, or the peer is gone.
        """
        least = limit if exact else 1
        return self._framing.receive(Kind.DATA, least, min(limit, MAX_PAYLOAD_BYTES), timeout_s)

    def begin_data(self, size: int) -> Outgoing:
        """Send one message of ``size`` bytes part by part: see `Outgoing`.

        Raises:
            ValueError: it has no bytes.
        """
        if size < 1:
            raise ValueError("a message of the protocol has at least one byte")
        return Outgoing(self._framing, size)

    def open_data(self, size: int, *, timeout_s: float | None = None) -> Incoming:
        """Receive one message of exactly ``size`` bytes part by part, once it has begun.

        Nothing else can be received before all of it was read. Waiting for its parts takes, all
        together, at most the time that `receive_data` gives to the whole.

        Raises:
            ProtocolError, PeerLeft, ConnectionFailed: as in `receive_data`.
        """
        length = self._framing.open(Kind.DATA, size, min(size, MAX_PAYLOAD_BYTES), timeout_s)
        return Incoming(self._framing, length)

    def send_control(self, message: Control, *, limit: int = CONTROL_LIMIT_BYTES) -> None:
        """Send one control record of at most ``limit`` bytes.

        Raises:
            TypeError: no `Control`.
            ValueError: it is longer than ``limit``.
            ConnectionFailed, ProtocolError: as in `send_data`.
        """
        if not isinstance(message, Control):
            raise TypeError(f"a control message is a Control, not a {type(message).__name__}")
        payload = encode_control(message)
        if len(payload) > limit:
            raise ValueError(
                f"{type(message).__name__} takes {len(payload)} bytes, the limit is {limit}"
            )
        self._framing.send(Kind.CONTROL, [memoryview(payload)])

    @overload
    def receive_control(
        self, wanted: type[A], /, *, limit: int = ..., timeout_s: float | None = ...
    ) -> A: ...

    @overload
    def receive_control(
        self, wanted: type[A], other: type[B], /, *, limit: int = ..., timeout_s: float | None = ...
    ) -> A | B: ...

    @overload
    def receive_control(
        self,
        wanted: type[A],
        other: type[B],
        third: type[C],
        /,
        *,
        limit: int = ...,
        timeout_s: float | None = ...,
    ) -> A | B | C: ...

    def receive_control(
        self,
        *types: type[Control],
        limit: int = CONTROL_LIMIT_BYTES,
        timeout_s: float | None = None,
    ) -> Control:
        """One control record, of one of ``types`` and at most ``limit`` bytes.

        Args:
            timeout_s: seconds to wait for it to begin, when not as in the settings.

        Raises:
            ProtocolError: another type, unknown or ill-typed fields, too long, another kind of
                frame, or the peer reports an error.
            PeerLeft: the peer said goodbye instead.
            ConnectionFailed: the deadline passed, or the peer is gone.
        """
        if not types:
            raise TypeError("say which control messages are allowed here")
        payload = self._framing.receive(Kind.CONTROL, 1, limit, timeout_s)
        try:
            return decode_control(payload, types, f"the {self.peer.value}")
        except ProtocolError as error:
            self._framing.reject(str(error))

    def send_bulk(self, parts: Iterable[Bytes], total: int) -> None:
        """Send ``total`` bytes as one bulk transfer; ``parts`` may be a generator.

        The parts are taken as the network takes them, so a generator keeps memory bounded by the
        channel's queue. It must not reuse a buffer. When it fails or has another length, the peer
        gets an error and the channel cannot be used any more.

        Raises:
            ValueError: the parts have not ``total`` bytes.
            ConnectionFailed, ProtocolError: as in `send_data`.
        """
        self._framing.send(Kind.BULK, [memoryview(encode_total(total))])
        try:
            for views in frames_of(parts, total):
                self._framing.send(Kind.BULK, views)
        except (ConnectionFailed, ProtocolError):
            raise
        except BaseException:
            self.send_error("a bulk transfer broke off at its source")
            raise

    def receive_bulk(self, expected: int, *, at_most: bool = False) -> memoryview:
        """A bulk transfer of ``expected`` bytes (``at_most``: or fewer), in memory.

        Raises:
            ProtocolError: another total or another frame, or the peer reports an error.
            PeerLeft, ConnectionFailed: as in `receive_data`.
        """
        content = empty(self._bulk_total(expected, at_most))
        for start in range(0, len(content), BULK_CHUNK_BYTES):
            self._framing.receive_into(Kind.BULK, content[start : start + BULK_CHUNK_BYTES])
        return content

    def receive_bulk_into(self, sink: BinaryIO, expected: int, *, at_most: bool = False) -> int:
        """Like `receive_bulk`, written to ``sink`` in pieces of 1 MiB. Returns the total.

        Raises:
            OSError: the sink cannot be written; the channel cannot be used any more.
        """
        total = self._bulk_total(expected, at_most)
        scratch = memoryview(bytearray(min(total, BULK_CHUNK_BYTES)))
        for start in range(0, total, BULK_CHUNK_BYTES):
            piece = scratch[: min(total - start, BULK_CHUNK_BYTES)]
            self._framing.receive_into(Kind.BULK, piece)
            try:
                sink.write(piece)
            except BaseException:
                self.send_error("a bulk transfer could not be stored")
                raise
        return total

    def send_error(self, text: str) -> None:
        """Tell the peer why this side stops; it raises ``ProtocolError("the ... reports: ...")``.

        The text is cut to 1 KiB of printable characters and must hold no secret. Never raises for
        a peer that is gone. Afterwards the channel can only be closed.
        """
        self._framing.send_error(text)

    def flush(self) -> None:
        """Wait until all that was sent is handed to the network.

        Raises:
            ConnectionFailed: the peer takes nothing, or is gone.
        """
        self._framing.flush()

    def close(self) -> None:
        """Send what is queued, say goodbye, end the thread. May be called again; never raises."""
        self._framing.close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and not isinstance(error, ConnectionFailed):
            self.send_error("it stopped because of an error on its side")
        super().__exit__(kind, error, trace)

    def _bulk_total(self, expected: int, at_most: bool) -> int:
        announcement = self._framing.receive(Kind.BULK, 8, 8)
        total = decode_total(announcement)
        if total > expected or (total < expected and not at_most):
            bound = "at most " if at_most else ""
            self._framing.reject(
                f"the {self.peer.value} announced a bulk transfer of {total} bytes, "
                f"due here: {bound}{expected}"
            )
        return total
