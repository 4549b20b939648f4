"""The frame header: sixteen bytes before every payload, and the checks on them.

    offset  size  field     value
    0       1     version   1
    1       1     kind      CONTROL, DATA, BULK, ERROR or BYE
    2       2     reserved  0
    4       4     length    payload bytes that follow
    8       8     sequence  0 for the first frame of a direction, then one more each time

All numbers are unsigned and little-endian. ``docs/wire-format.md`` gives the reasons.
"""

from __future__ import annotations

import enum
import struct
from typing import NamedTuple

from veilform.errors import ProtocolError

VERSION = 1
HEADER_BYTES = 16
MAX_PAYLOAD_BYTES = 2**31
"""The largest payload of one frame. The field could say more; no message needs it."""

_HEADER = struct.Struct("<BBHIQ")


class Kind(enum.IntEnum):
    """What a frame carries."""

    CONTROL = 1
    """One msgpack object (see `control`)."""
    DATA = 2
    """One message of the online protocol: raw little-endian words."""
    BULK = 3
    """One piece of a transfer of announced size: stock, masked weights."""
    ERROR = 4
    """Why the sender stops, as printable UTF-8. The last frame of a direction."""
    BYE = 5
    """A regular end, without payload. The last frame of a direction."""


class Header(NamedTuple):
    """A checked header: what follows, and how many bytes of it."""

    kind: Kind
    length: int


def encode_header(kind: Kind, length: int, sequence: int) -> bytes:
    """The 16 bytes before a payload of ``length`` bytes.

    Raises:
        ValueError: the length or sequence does not fit.
    """
    if not 0 <= length <= MAX_PAYLOAD_BYTES:
        raise ValueError(f"a frame holds 0 to {MAX_PAYLOAD_BYTES} bytes, not {length}")
    if not 0 <= sequence < 2**64:
        raise ValueError(f"a sequence number has 64 bits, {sequence} has more")
    return _HEADER.pack(VERSION, kind, 0, length, sequence)


def decode_header(raw: bytes | bytearray | memoryview, sequence: int, peer: str) -> Header:
    """Check 16 received bytes against the ``sequence`` number that is due.

    The length is not judged here: only the receiver knows what it is ready to hold, and
    `check_length` compares the two.

    Args:
        peer: who sent it, for the error texts ("the server").

    Raises:
        ProtocolError: version, kind, reserved bits or sequence number are wrong; says which.
        ValueError: not 16 bytes.
    """
    if len(raw) != HEADER_BYTES:
        raise ValueError(f"a header has {HEADER_BYTES} bytes, not {len(raw)}")
    version, kind, reserved, length, got = _HEADER.unpack(raw)
    if version != VERSION:
        raise ProtocolError(
            f"{peer} sent frame version {version}, this side speaks {VERSION}: "
            "install the same Veilform release on both sides"
        )
    try:
        checked = Kind(kind)
    except ValueError:
        raise ProtocolError(f"{peer} sent a frame of unknown kind {kind}") from None
    if reserved:
        raise ProtocolError(f"{peer} sent a frame whose reserved bits are {reserved:#06x}, not 0")
    if got < sequence:
        raise ProtocolError(
            f"{peer} sent frame number {got} where {sequence} is due: replayed or reordered"
        )
    if got > sequence:
        raise ProtocolError(
            f"{peer} sent frame number {got} where {sequence} is due: frames are missing"
        )
    return Header(checked, length)


def check_length(header: Header, low: int, high: int, peer: str) -> int:
    """The payload length of ``header``, when it lies in [low, high] (bytes).

    Called before anything is allocated for the payload.

    Raises:
        ProtocolError: the length is outside.
    """
    if low <= header.length <= high:
        return header.length
    allowed = f"exactly {low}" if low == high else f"{low} to {high}"
    raise ProtocolError(
        f"{peer} announced a {header.kind.name} frame of {header.length} bytes, "
        f"allowed here: {allowed}"
    )
