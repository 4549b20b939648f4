"""One message of the online protocol, sent and received in parts. On the wire it is one frame."""

from __future__ import annotations

from veilform.errors import ProtocolError
from veilform.transport.frames import Kind
from veilform.transport.framing import Framing
from veilform.transport.streams import Bytes, as_views, empty

_HELD_BYTES = 2**14
"""Fewer bytes wait for the next part: a TLS record of their own costs more than it gains."""


class Outgoing:
    """A message of ``size`` bytes that leaves part by part.

    Parts are not copied: they belong to the channel from now on. Once the first has left, the
    channel can send nothing else until the message is complete; if it never is, the peer sees the
    connection end in the middle of a frame.
    """

    def __init__(self, framing: Framing, size: int) -> None:
        self.size = size
        self._framing = framing
        self._left = size
        self._held: list[memoryview] = []
        self._held_bytes = 0
        self._begun = False

    def write(self, part: Bytes) -> None:
        """Send one more part.

        Raises:
            ValueError: the part is not contiguous.
            ProtocolError: the message would exceed its size, or the peer reported an error.
            ConnectionFailed: the peer takes nothing, or is gone.
        """
        views = as_views([part])
        length = sum(len(view) for view in views)
        if length > self._left:
            raise ProtocolError(
                f"this side's program sends more than the {self.size} bytes that are due"
            )
        self._left -= length
        self._held += views
        self._held_bytes += length
        if not self._left or self._held_bytes >= _HELD_BYTES:
            self._hand_over()

    def finish(self) -> None:
        """Say that this was all.

        Raises:
            ProtocolError: parts are missing.
        """
        if self._left:
            raise ProtocolError(
                f"this side's program sends {self.size - self._left} bytes "
                f"where {self.size} are due"
            )

    def _hand_over(self) -> None:
        held, self._held, self._held_bytes = self._held, [], 0
        if not self._begun:
            self._begun = True
            self._framing.begin(Kind.DATA, self.size, held)
        else:
            self._framing.go_on(held)


class Incoming:
    """A message of ``size`` bytes whose header has come and was found right."""

    def __init__(self, framing: Framing, size: int) -> None:
        self.size = size
        self._framing = framing
        self._left = size

    def read(self, nbytes: int) -> memoryview:
        """The next ``nbytes`` bytes, as soon as they are there. Memory of its own.

        Raises:
            ValueError: so many are not left.
            ConnectionFailed: the peer ended in the middle of the message, or the time that the
                whole message has was waited for its parts.
        """
        if not 0 <= nbytes <= self._left:
            raise ValueError(f"{self._left} bytes are left of a message, not {nbytes}")
        content = empty(nbytes)
        if nbytes:
            self._framing.read_on(content)
            self._left -= nbytes
        return content
