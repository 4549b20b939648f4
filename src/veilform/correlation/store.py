"""Stocks on disk, marked used before anything of them is read, so that no crash brings one back.

A folder holds one file a stock: ``<id>.stock`` while it is fresh, ``<id>.used``, empty, afterwards.
Claiming is one link, so of two claims one fails. Files are readable by their owner alone: a seed is
as secret as the input that it will hide.

What is left behind. A stock is of use to the connection it was dealt on, so fresh files of a
process that ended are of no use to anyone: `StockStore.burn_leftovers` burns them when the next
process starts. A ``.used`` mark is kept for a day. Without its mark a stock still cannot be claimed
again, for its file is gone; the mark refuses one that is put a second time, and the dealer throws
away what was not collected long before a day is over.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import time
import weakref
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import msgspec

from veilform.correlation.manifest import Manifest
from veilform.correlation.stock import Stock, cut
from veilform.errors import InputError, StockError
from veilform.roles import Role

ID_PATTERN = "^[0-9a-f]{32}$"
StockId = Annotated[str, msgspec.Meta(pattern=ID_PATTERN)]
KEEP_MARKS_S = 86_400.0
_PUTS_PER_SWEEP = 256
_MAGIC = b"VEILSTK1"
_MOST_HEADER_BYTES = 1024
_OTHERS_WRITE = 0o022

Parts = Iterable[bytes | bytearray | memoryview]
Size = Annotated[int, msgspec.Meta(ge=0)]


def new_id() -> str:
    """A stock's name: 128 random bits in hexadecimal."""
    return secrets.token_hex(16)


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a stock file says of itself. The checksum is against damage, not against an enemy."""

    role: Role
    manifest: str
    seed: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
    dealt: Size
    corrections: Size
    checksum: int


class StockStore:
    """The stocks of one party in a folder. Several stores of one role may share one.

    Raises:
        InputError: the folder cannot be made, is another role's, or others may write into it.
    """

    def __init__(self, folder: Path, role: Role) -> None:
        self._folder = folder
        self._role = role
        self._puts = 0
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            others = folder.stat().st_mode & _OTHERS_WRITE
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self._lock = os.open(folder / ".lock", flags, 0o600)
            # The first store to come writes its role into the empty lock file.
            owner = os.pread(self._lock, 16, 0).decode("ascii", "replace")
            if not owner:
                os.pwrite(self._lock, role.value.encode("ascii"), 0)
        except OSError as error:
            raise InputError(
                f"the stock folder {folder} cannot be used: {error.strerror}"
            ) from error
        weakref.finalize(self, os.close, self._lock)
        if owner not in ("", role.value):
            raise InputError(f"the stock folder {folder} is the {owner}'s; give each party its own")
        if others:
            raise InputError(f"the stock folder {folder} is open to other users: chmod 700 it")
        with contextlib.suppress(OSError):  # a file system without locks never burns leftovers
            fcntl.flock(self._lock, fcntl.LOCK_SH)

    def put(self, stock_id: str, manifest: Manifest, seed: bytes, dealt: Parts,
            corrections: Parts = ()) -> None:  # fmt: skip
        """Keeps a fresh stock. It is on the disk when this returns.

        Raises:
            StockError: for an id that is known already, or when the disk does not take it.
        """
        fresh, used = self._paths(stock_id)
        known = StockError(f"stock {stock_id} is known already; each is dealt once")
        if fresh.exists() or used.exists():
            raise known
        dealt, corrections = _views(dealt), _views(corrections)
        checksum = zlib.crc32(seed)
        for part in [*dealt, *corrections]:
            checksum = zlib.crc32(part, checksum)
        sizes = sum(map(len, dealt)), sum(map(len, corrections))
        header = _Header(self._role, manifest.digest, seed, *sizes, checksum)
        head = msgspec.msgpack.encode(header)
        partial = self._folder / f"{stock_id}.{secrets.token_hex(4)}.partial"
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "wb") as file:
                file.write(_MAGIC + len(head).to_bytes(4, "little") + head)
                for part in [*dealt, *corrections]:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            # link, unlike rename, fails where the name is taken.
            os.link(partial, fresh)
        except FileExistsError:
            raise known from None
        except OSError as error:
            raise StockError(
                f"a stock cannot be kept in {self._folder}: {error.strerror}; free some space, "
                "or choose a folder on another disk"
            ) from error
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
        self._sync_folder()
        self._puts += 1
        if self._puts % _PUTS_PER_SWEEP == 0:
            self._forget_old_marks()

    def claim(self, stock_id: str, manifest: Manifest) -> Stock:
        """Marks a stock used, then reads it.

        Raises:
            StockError: it is unknown, used already, for something else, or damaged. In the last
                two cases it is used up as well.
        """
        fresh, used = self._paths(stock_id)
        try:
            # link fails where a mark exists; rename would replace it.
            os.link(fresh, used)
            # Whoever lost the race may have unlinked it first.
            fresh.unlink(missing_ok=True)
        except FileNotFoundError:
            raise StockError(self._why_not(stock_id, used)) from None
        except FileExistsError:
            fresh.unlink(missing_ok=True)
            raise StockError(self._why_not(stock_id, used)) from None
        except OSError as error:
            raise StockError(
                f"stock {stock_id} cannot be marked used, so it is not read: {error.strerror}"
            ) from error
        self._sync_folder()
        try:
            with open(used, "r+b") as file:
                content = memoryview(file.read())
                file.truncate(0)
                os.fsync(file.fileno())
        except OSError as error:
            raise StockError(f"stock {stock_id} cannot be read: {error.strerror}") from error
        return self._open(stock_id, content, manifest)

    def discard(self, stock_id: str) -> None:
        """Marks a stock used without reading it, whether it is here or not.

        Raises:
            StockError: its file cannot be removed.
        """
        self._burn(stock_id)
        self._sync_folder()

    def burn_leftovers(self) -> int:
        """Burns what an earlier process left here, if no other has the folder open; how many."""
        burnt = 0
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return 0
        try:
            for path in self._folder.glob("*.partial"):
                path.unlink(missing_ok=True)
            for path in self._folder.glob("*.stock"):
                if re.fullmatch(ID_PATTERN, path.stem):
                    self._burn(path.stem)
                    burnt += 1
            self._forget_old_marks()
            self._sync_folder()
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_SH)
        return burnt

    def _burn(self, stock_id: str) -> None:
        fresh, used = self._paths(stock_id)
        with contextlib.suppress(OSError):  # without the file, there is nothing to claim
            used.touch(mode=0o600)
        try:
            fresh.unlink(missing_ok=True)
        except OSError as error:
            raise StockError(f"stock {stock_id} cannot be burnt: {error.strerror}") from error

    def _forget_old_marks(self) -> None:
        oldest = time.time() - KEEP_MARKS_S
        with contextlib.suppress(OSError):
            for path in self._folder.glob("*.used"):
                if path.stat().st_mtime < oldest:
                    path.with_suffix(".stock").unlink(missing_ok=True)
                    path.unlink(missing_ok=True)

    def _open(self, stock_id: str, content: memoryview, manifest: Manifest) -> Stock:
        damaged = f"stock {stock_id} is damaged; ask the dealer for a new one"
        size = int.from_bytes(content[8:12], "little")
        if bytes(content[:8]) != _MAGIC or size > _MOST_HEADER_BYTES:
            raise StockError(damaged)
        try:
            header = msgspec.msgpack.decode(content[12 : 12 + size], type=_Header)
        except (msgspec.MsgspecError, ValueError):  # of a text that is no UTF-8
            raise StockError(damaged) from None
        body = content[12 + size :]
        checksum = zlib.crc32(body, zlib.crc32(header.seed))
        if len(body) != header.dealt + header.corrections or checksum != header.checksum:
            raise StockError(damaged)
        if header.role is not self._role or header.manifest != manifest.digest:
            raise StockError(
                f"stock {stock_id} was dealt for another model, input length or party; "
                "ask the dealer for one for this run"
            )
        received = cut(manifest, self._role, body[: header.dealt], body[header.dealt :])
        return Stock(self._role, manifest, header.seed, received)

    def _paths(self, stock_id: str) -> tuple[Path, Path]:
        if not re.fullmatch(ID_PATTERN, stock_id):
            raise StockError("a stock's id is 32 hexadecimal digits")
        return self._folder / f"{stock_id}.stock", self._folder / f"{stock_id}.used"

    def _why_not(self, stock_id: str, used: Path) -> str:
        if used.exists():
            return f"stock {stock_id} was used already; ask the dealer for a new one"
        return f"stock {stock_id} is not kept here; ask the dealer for it first"

    def _sync_folder(self) -> None:
        try:
            descriptor = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise StockError(f"{self._folder} cannot be synced: {error.strerror}") from error

    def __repr__(self) -> str:
        return f"StockStore({self._role.value} at {self._folder})"


def _views(parts: Parts) -> list[memoryview]:
    return [memoryview(part).cast("B") for part in parts]
