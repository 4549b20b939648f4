"""The file of one stock: written in pieces as they come, read as a run needs it.

Layout: the magic, the length of the header in 4 bytes, the header, zeros up to `BODY`; the dealt
bytes, then the corrections, each in the manifest's order; then a checksum of 4 bytes for each block
of `BLOCK` bytes of the dealt bytes and of the corrections. The header is written last.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Generator, Iterator
from typing import Annotated, BinaryIO, cast

import msgspec

from veilform.correlation.manifest import Manifest, layout
from veilform.correlation.specs import Source
from veilform.errors import StockError
from veilform.roles import Role

BODY = 1024
BLOCK = 1 << 18
DAMAGED = "is damaged; ask the dealer for a new one"
_MAGIC = b"VEILSTK2"
_HEADER_AT = len(_MAGIC) + 4


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a stock file says of itself.

    The checksum, of the seed and the table of checksums, is against damage, not against an enemy.
    """

    role: Role
    manifest: str
    seed: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
    checksum: int


class Incoming:
    """A stock file that is being filled.

    ``dealt`` and ``corrections`` take the bytes by their ``write``, in any pieces; each may have a
    thread of its own. They never raise: the disk's first failure is kept for :meth:`seal`, so that
    the connections that bring the bytes stay in step.
    """

    def __init__(self, descriptor: int, role: Role, manifest: Manifest, seed: bytes) -> None:
        self.role = role
        self._descriptor = descriptor
        self._start = role, manifest.digest, seed
        dealt, corrections = _sizes(role, manifest)
        self._parts = _Part(descriptor, BODY, dealt), _Part(descriptor, BODY + dealt, corrections)
        self.dealt, self.corrections = (cast(BinaryIO, part) for part in self._parts)

    def seal(self) -> None:
        """Writes the header, and has all of it on the disk.

        Raises:
            OSError: the disk did not take something.
            StockError: bytes are missing, or were too many.
        """
        for part in self._parts:
            part.check()
        dealt, corrections = self._parts
        table = b"".join(c.to_bytes(4, "little") for c in dealt.checksums + corrections.checksums)
        _write_all(self._descriptor, memoryview(table), BODY + dealt.size + corrections.size)
        head = msgspec.msgpack.encode(Header(*self._start, _checksum(self._start[2], table)))
        content = memoryview(_MAGIC + len(head).to_bytes(4, "little") + head)
        _write_all(self._descriptor, content, 0)
        os.fsync(self._descriptor)


class _Part:
    """A range of the file, filled from its first byte on."""

    def __init__(self, descriptor: int, start: int, size: int) -> None:
        self._descriptor, self._start, self.size = descriptor, start, size
        self._done = 0
        self._failure: OSError | None = None
        self.checksums: list[int] = []

    def write(self, data: bytes | bytearray | memoryview) -> int:
        view = memoryview(data).cast("B")
        rest = view
        while rest:
            at = self._done % BLOCK
            piece, rest = rest[: BLOCK - at], rest[BLOCK - at :]
            self._add(piece, at)
        return len(view)

    def _add(self, piece: memoryview, at: int) -> None:
        if self._failure is None and self._done + len(piece) <= self.size:
            before = self.checksums.pop() if at else 0
            self.checksums.append(zlib.crc32(piece, before))
            try:
                _write_all(self._descriptor, piece, self._start + self._done)
            except OSError as error:
                self._failure = error
        self._done += len(piece)

    def check(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._done != self.size:
            raise StockError(f"a stock came with {self._done} bytes where {self.size} belong")


class Outgoing:
    """A whole stock file, of which no more than a block a part is in memory.

    Raises:
        OSError: it cannot be read.
        StockError: it is damaged, or of another manifest or role. The text has no subject.
    """

    def __init__(self, descriptor: int, role: Role, manifest: Manifest) -> None:
        self._descriptor, self._role, self._manifest = descriptor, role, manifest
        start = os.pread(descriptor, BODY, 0)
        size = int.from_bytes(start[len(_MAGIC) : _HEADER_AT], "little")
        if start[: len(_MAGIC)] != _MAGIC or len(start) < BODY or any(start[_HEADER_AT + size :]):
            raise StockError(DAMAGED)
        try:
            header = msgspec.msgpack.decode(start[_HEADER_AT : _HEADER_AT + size], type=Header)
        except (msgspec.MsgspecError, ValueError):  # of a text that is no UTF-8
            raise StockError(DAMAGED) from None
        if header.role is not role or header.manifest != manifest.digest:
            raise StockError(
                "was dealt for another model, input length or party; ask the dealer for one for "
                "this run"
            )
        self._sizes = _sizes(role, manifest)
        self._table = self._read_table(header)
        self.seed = header.seed

    def fields(self) -> Iterator[dict[str, memoryview]]:
        """What was received for each spec, by field, each array in memory of its own.

        Raises:
            StockError: the next of it is damaged, or cannot be read.
        """
        dealt, corrections = self._sizes
        sources = {
            Source.DEALT: self._bytes(BODY, dealt, 0),
            Source.CORRECTION: self._bytes(BODY + dealt, corrections, _blocks(dealt)),
        }
        for source in sources.values():
            next(source)
        for spec in self._manifest.specs:
            yield {
                name: source.send(nbytes)
                for kind, source in sources.items()
                for name, nbytes in layout(spec, self._role, kind)
            }

    def _bytes(self, start: int, size: int, first: int) -> Generator[memoryview, int, None]:
        """Takes a number of bytes, and yields the next so many of a part of the file."""
        block, done = memoryview(b""), 0
        wanted = yield block
        while True:
            out = memoryview(bytearray(wanted))
            rest = out
            while rest:
                if not block:
                    block = self._block(start, size, done, first)
                    done += len(block)
                count = min(len(block), len(rest))
                rest[:count] = block[:count]
                rest, block = rest[count:], block[count:]
            wanted = yield out

    def _block(self, start: int, size: int, at: int, first: int) -> memoryview:
        try:
            block = os.pread(self._descriptor, min(BLOCK, size - at), start + at)
        except OSError as error:
            raise StockError(f"a stock cannot be read: {error.strerror}") from error
        number = 4 * (first + at // BLOCK)
        expected = int.from_bytes(self._table[number : number + 4], "little")
        if not block or zlib.crc32(block) != expected:
            raise StockError(f"a stock {DAMAGED}")
        return memoryview(block)

    def _read_table(self, header: Header) -> bytes:
        body = BODY + sum(self._sizes)
        table = os.pread(self._descriptor, 4 * sum(map(_blocks, self._sizes)) + 1, body)
        if len(table) % 4 or _checksum(header.seed, table) != header.checksum:
            raise StockError(DAMAGED)
        return table

    def __del__(self) -> None:
        os.close(self._descriptor)


def _sizes(role: Role, manifest: Manifest) -> tuple[int, int]:
    return manifest.dealt_bytes(role), manifest.correction_bytes if role is Role.SERVER else 0


def _blocks(size: int) -> int:
    return -(-size // BLOCK)


def _checksum(seed: bytes, table: bytes) -> int:
    return zlib.crc32(table, zlib.crc32(seed))


def _write_all(descriptor: int, view: memoryview, at: int) -> None:
    while view:
        done = os.pwrite(descriptor, view, at)
        view, at = view[done:], at + done
