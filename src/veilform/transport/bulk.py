"""Bulk transfers: an announced total, then frames of exactly 1 MiB and a shorter last one."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from veilform.transport.streams import Bytes, as_views

BULK_CHUNK_BYTES = 2**20
_TOTAL = struct.Struct("<Q")


def encode_total(total: int) -> bytes:
    """The 8 bytes of the announcement.

    Raises:
        ValueError: ``total`` is negative or needs more than 64 bits.
    """
    if not 0 <= total < 2**64:
        raise ValueError(f"{total} is no size of a bulk transfer")
    return _TOTAL.pack(total)


def decode_total(payload: memoryview) -> int:
    """The total in bytes, from an announcement of exactly 8 bytes."""
    (total,) = _TOTAL.unpack(payload)
    return int(total)


def frames_of(parts: Iterable[Bytes], total: int) -> Iterator[list[memoryview]]:
    """Cut ``parts`` into the views of each frame, without a copy.

    Raises:
        ValueError: the parts have not ``total`` bytes together.
    """
    frame: list[memoryview] = []
    filled = done = 0
    for part in parts:
        for view in as_views([part]):
            rest = view
            done += len(rest)
            if done > total:
                raise ValueError(f"a bulk transfer announced as {total} bytes has more")
            while rest:
                piece = rest[: BULK_CHUNK_BYTES - filled]
                frame.append(piece)
                filled += len(piece)
                rest = rest[len(piece) :]
                if filled == BULK_CHUNK_BYTES:
                    yield frame
                    frame, filled = [], 0
    if done != total:
        raise ValueError(f"a bulk transfer announced as {total} bytes has only {done}")
    if frame:
        yield frame
