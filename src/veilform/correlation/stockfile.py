"""The file of one stock: written in pieces as they come, read as a run needs it.

Layout: the magic, the length of the header in 4 bytes, the header, zeros up to `BODY`; the dealt
bytes, then the corrections, each in the manifest's order; then the CRC-32C, 4 bytes, of each
block of `BLOCK` bytes of the dealt bytes and of the corrections. The header is written last.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from typing import Annotated, Any, BinaryIO, cast

import msgspec

from veilform.correlation.manifest import Manifest
from veilform.correlation.specs import Source
from veilform.errors import StockError
from veilform.kernels.checksum import bring_in, crc32c
from veilform.roles import Role

BODY = 1024
BLOCK = 1 << 18
DAMAGED = "is damaged; ask the dealer for a new one"
_MAGIC = b"VEILSTK3"
_HEADER_AT = len(_MAGIC) + 4
_STEP = 16 << 20  # unmapped at once
_WINDOW = 1 << 20  # mapped at once


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a stock file says of itself.

    The checksum, of the seed and the table of checksums, is against damage, not against an enemy.
    Its text form shows no content.
    """

    role: Role
    manifest: str
    seed: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
    checksum: int

    def __repr__(self) -> str:
        return f"Header({self.role.value})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("role", self.role.value)]


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
        """Writes the header, and waits until the disk has all of it.

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
            self.checksums.append(crc32c(piece, before))
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
    """A whole stock file, mapped: its bytes are handed out where they lie, and nothing is copied.

    The descriptor is closed here; the file, once it has no name, ends with the last bytes handed
    out. The map cannot shrink under its reader: its size is checked here, and no one else can reach
    a file without a name.

    Raises:
        OSError: it cannot be read.
        StockError: it is damaged, or of another manifest or role. The text has no subject.
    """

    def __init__(self, descriptor: int, role: Role, manifest: Manifest) -> None:
        self._role, self._manifest = role, manifest
        try:
            start = os.pread(descriptor, BODY, 0)
            header = _header(start)
            if header.role is not role or header.manifest != manifest.digest:
                raise StockError(
                    "was dealt for another model, input length or party; ask the dealer for one "
                    "for this run"
                )
            self._sizes = _sizes(role, manifest)
            body = BODY + sum(self._sizes)
            size = file_bytes(role, manifest)
            # With one byte more, so that a longer file shows.
            table = os.pread(descriptor, size - body + 1, body)
            if len(table) != size - body or _checksum(header.seed, table) != header.checksum:
                raise StockError(DAMAGED)
            self._map = mmap.mmap(descriptor, size, mmap.MAP_PRIVATE, mmap.PROT_READ)
        finally:
            os.close(descriptor)
        self._map.madvise(mmap.MADV_SEQUENTIAL)
        self._table = struct.unpack(f"<{len(table) // 4}I", table)
        self.seed = header.seed

    def fields(self) -> Iterator[dict[str, memoryview]]:
        """What was received for each spec, by field. Each array is a part of the file, read-only.

        Raises:
            StockError: the next of it is damaged, or cannot be read.
        """
        dealt, corrections = self._sizes
        first = _blocks(dealt)
        sources = {
            Source.DEALT: _Mapped(self._map, BODY, dealt, self._table[:first]),
            Source.CORRECTION: _Mapped(self._map, BODY + dealt, corrections, self._table[first:]),
        }
        layouts = (self._manifest.layouts(self._role, source) for source in sources)
        for of_spec in zip(*layouts, strict=True):
            yield {
                name: source.take(size)
                for source, layout in zip(sources.values(), of_spec, strict=True)
                for name, size in layout
            }


class _Mapped:
    """A range of a mapped file, taken from its first byte on; each block is checked on the way.

    The pages of what was taken are unmapped in steps of `_STEP` bytes, so that a process never
    counts much of the file as its own. Bytes still in use then are mapped again by the system when
    they are touched, from its cache.
    """

    def __init__(self, whole: mmap.mmap, start: int, size: int, table: tuple[int, ...]) -> None:
        self._map, self._view = whole, memoryview(whole)[start : start + size]
        self._start, self._table = start, table
        self._taken = self._checked = self._present = 0
        self._let_go = start // mmap.PAGESIZE * mmap.PAGESIZE

    def take(self, size: int) -> memoryview:
        if self._start + self._taken - self._let_go >= _STEP:
            end = (self._start + self._taken) // mmap.PAGESIZE * mmap.PAGESIZE
            self._map.madvise(mmap.MADV_DONTNEED, self._let_go, end - self._let_go)
            self._let_go = end
        first, self._taken = self._taken, self._taken + size
        while self._checked < self._taken:
            self._check()
        return self._view[first : self._taken]

    def _check(self) -> None:
        """Checks the next block, once it is in memory."""
        block = self._view[self._checked : self._checked + BLOCK]
        if self._present < self._checked + len(block):
            window = self._view[self._checked : self._checked + max(_WINDOW, BLOCK)]
            failure = bring_in(window)
            if failure:
                raise StockError(f"a stock cannot be read: {os.strerror(failure)}")
            self._present = self._checked + len(window)
        if not block or crc32c(block) != self._table[self._checked // BLOCK]:
            raise StockError(f"a stock {DAMAGED}")
        self._checked += len(block)


def _header(start: bytes) -> Header:
    size = int.from_bytes(start[len(_MAGIC) : _HEADER_AT], "little")
    if start[: len(_MAGIC)] != _MAGIC or len(start) < BODY or any(start[_HEADER_AT + size :]):
        raise StockError(DAMAGED)
    try:
        return msgspec.msgpack.decode(start[_HEADER_AT : _HEADER_AT + size], type=Header)
    except (msgspec.MsgspecError, ValueError):  # of a text that is no UTF-8
        raise StockError(DAMAGED) from None


def _sizes(role: Role, manifest: Manifest) -> tuple[int, int]:
    return manifest.dealt_bytes(role), manifest.correction_bytes if role is Role.SERVER else 0


def file_bytes(role: Role, manifest: Manifest) -> int:
    """Of a whole file."""
    sizes = _sizes(role, manifest)
    return BODY + sum(sizes) + 4 * sum(map(_blocks, sizes))


def _blocks(size: int) -> int:
    return -(-size // BLOCK)


def _checksum(seed: bytes, table: bytes) -> int:
    return crc32c(table, crc32c(seed))


def _write_all(descriptor: int, view: memoryview, at: int) -> None:
    while view:
        done = os.pwrite(descriptor, view, at)
        view, at = view[done:], at + done
