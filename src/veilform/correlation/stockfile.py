"""The file of one stock: written in pieces as they come, read field by field.

Layout: the magic, the length of the header in 4 bytes, the header, zeros up to `BODY`; then the
dealt bytes, then the corrections, each in the manifest's order. The header is written last.
"""

from __future__ import annotations

import os
import zlib
from typing import Annotated, BinaryIO, cast

import msgspec

from veilform.correlation.manifest import Manifest, layout
from veilform.correlation.specs import Source
from veilform.correlation.stock import Received
from veilform.errors import StockError
from veilform.roles import Role

BODY = 1024
_MAGIC = b"VEILSTK2"
_HEADER_AT = len(_MAGIC) + 4

Size = Annotated[int, msgspec.Meta(ge=0)]


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a stock file says of itself. The checksums are against damage, not against an enemy."""

    role: Role
    manifest: str
    seed: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
    dealt: Size
    corrections: Size
    checksums: tuple[int, int]


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
        dealt = manifest.dealt_bytes(role)
        corrections = manifest.correction_bytes if role is Role.SERVER else 0
        self._parts = (
            _Part(descriptor, BODY, dealt, seed),
            _Part(descriptor, BODY + dealt, corrections, seed),
        )
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
        sums = dealt.checksum, corrections.checksum
        head = msgspec.msgpack.encode(Header(*self._start, dealt.size, corrections.size, sums))
        content = memoryview(_MAGIC + len(head).to_bytes(4, "little") + head)
        _write_all(self._descriptor, content, 0)
        os.fsync(self._descriptor)


class _Part:
    """A range of the file, filled from its first byte on."""

    def __init__(self, descriptor: int, start: int, size: int, seed: bytes) -> None:
        self._descriptor, self._start, self.size = descriptor, start, size
        self._done = 0
        self._failure: OSError | None = None
        self.checksum = zlib.crc32(seed)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        view = memoryview(data).cast("B")
        at = self._done
        self._done += len(view)
        if self._failure is None and self._done <= self.size:
            self.checksum = zlib.crc32(view, self.checksum)
            try:
                _write_all(self._descriptor, view, self._start + at)
            except OSError as error:
                self._failure = error
        return len(view)

    def check(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._done != self.size:
            raise StockError(f"a stock came with {self._done} bytes where {self.size} belong")


def _write_all(descriptor: int, view: memoryview, at: int) -> None:
    while view:
        done = os.pwrite(descriptor, view, at)
        view, at = view[done:], at + done


def read(file: BinaryIO, role: Role, manifest: Manifest) -> tuple[Header, Received] | None:
    """The header and the fields of each spec, each in memory of its own. None: it is damaged.

    Raises:
        OSError: it cannot be read.
        StockError: it is whole, but of another manifest or role.
    """
    start = file.read(BODY)
    size = int.from_bytes(start[len(_MAGIC) : _HEADER_AT], "little")
    if start[: len(_MAGIC)] != _MAGIC or len(start) < BODY or any(start[_HEADER_AT + size :]):
        return None
    try:
        header = msgspec.msgpack.decode(start[_HEADER_AT : _HEADER_AT + size], type=Header)
    except (msgspec.MsgspecError, ValueError):  # of a text that is no UTF-8
        return None
    if os.fstat(file.fileno()).st_size != BODY + header.dealt + header.corrections:
        return None
    received: Received = [{} for _ in manifest.specs]
    if header.role is not role or header.manifest != manifest.digest:
        raise StockError("dealt for another model, input length or party")
    for source, checksum in zip((Source.DEALT, Source.CORRECTION), header.checksums, strict=True):
        found = zlib.crc32(header.seed)
        for fields, spec in zip(received, manifest.specs, strict=True):
            for name, nbytes in layout(spec, role, source):
                content = bytearray(nbytes)
                file.readinto(content)  # type: ignore[attr-defined]
                fields[name] = memoryview(content)
                found = zlib.crc32(content, found)
        if found != checksum:
            return None
    return header, received
