"""Stocks on disk, marked used before anything of them is read, so that no crash brings one back.

A folder holds one file a stock: ``<id>.stock`` while it is fresh, ``<id>.used``, empty, afterwards.
Claiming is one link, so of two claims one fails. Files are readable by their owner alone: a seed is
as secret as the input that it will hide.

What is left behind. A stock is of use to the connection it was dealt on, so fresh files of a
process that ended are of no use to anyone: `StockStore.burn_leftovers` burns them when the next
process starts. For the same reason nothing waits for the disk to have a fresh stock; what it waits
for is that a claim is on it, before the first byte is read. A ``.used`` mark is kept for a day.
Without its mark a stock still cannot be claimed again, for its file is gone; the mark refuses one
that is put a second time, and the dealer throws away what was not collected long before a day is
over.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import time
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import msgspec

from veilform.correlation.manifest import Manifest
from veilform.correlation.stock import Stock
from veilform.correlation.stockfile import Incoming, Outgoing
from veilform.errors import InputError, StockError
from veilform.roles import Role

ID_PATTERN = "^[0-9a-f]{32}$"
StockId = Annotated[str, msgspec.Meta(pattern=ID_PATTERN)]
KEEP_MARKS_S = 86_400.0
_PUTS_PER_SWEEP = 256
_OTHERS_WRITE = 0o022

Parts = Iterable[bytes | bytearray | memoryview]


def new_id() -> str:
    """A stock's name: 128 random bits in hexadecimal."""
    return secrets.token_hex(16)


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
        """Keeps a fresh stock.

        Raises:
            StockError: as in `incoming`.
        """
        with self.incoming(stock_id, manifest, seed) as stock:
            for part in dealt:
                stock.dealt.write(part)
            for part in corrections:
                stock.corrections.write(part)

    @contextlib.contextmanager
    def incoming(self, stock_id: str, manifest: Manifest, seed: bytes) -> Iterator[Incoming]:
        """A fresh stock that comes in piece by piece.

        It can be claimed once the block ends in the regular way. When that fails, or the process
        dies, nothing is left that could be claimed.

        Raises:
            StockError: for an id that is known already, when the disk does not take it, or when not
                all its bytes came.
        """
        fresh, used = self._paths(stock_id)
        known = StockError(f"stock {stock_id} is known already; each is dealt once")
        if fresh.exists() or used.exists():
            raise known
        partial = self._folder / f"{stock_id}.{secrets.token_hex(4)}.partial"
        descriptor = -1
        try:
            with self._disk():
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                descriptor = os.open(partial, flags, 0o600)
            stock = Incoming(descriptor, self._role, manifest, seed)
            yield stock
            with self._disk():
                stock.seal()
                # link, unlike rename, fails where the name is taken.
                os.link(partial, fresh)
        except FileExistsError:
            raise known from None
        finally:
            with contextlib.suppress(OSError):
                if descriptor >= 0:
                    os.close(descriptor)
                partial.unlink(missing_ok=True)
        self._puts += 1
        if self._puts % _PUTS_PER_SWEEP == 0:
            self._forget_old_marks()

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except FileExistsError:
            raise
        except OSError as error:
            raise StockError(
                f"a stock cannot be kept in {self._folder}: {error.strerror}; free some space, "
                "or choose a folder on another disk"
            ) from error

    def claim(self, stock_id: str, manifest: Manifest) -> Stock:
        """Marks a stock used, then opens it. Its content is read as the run takes it.

        Raises:
            StockError: it is unknown, used already, for something else, or damaged. In the last
                two cases it is used up as well. Damage further on shows when that is taken.
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
        try:
            content = Outgoing(self._without_name(stock_id, used), self._role, manifest)
        except OSError as error:
            raise StockError(f"stock {stock_id} cannot be read: {error.strerror}") from error
        except StockError as error:
            raise StockError(f"stock {stock_id} {error}") from None
        return Stock(self._role, manifest, content.seed, content.fields())

    def _without_name(self, stock_id: str, used: Path) -> int:
        """Opens a claimed file and leaves an empty mark in its place: it ends with its reader.

        The claim is on the disk when this returns, and no byte was read before.
        """
        descriptor = os.open(used, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._put_empty_mark(used)
            self._sync_folder()
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _put_empty_mark(self, used: Path) -> None:
        mark = self._folder / f"{used.stem}.{secrets.token_hex(4)}.partial"
        mark.touch(mode=0o600)
        mark.replace(used)

    def discard(self, stock_id: str) -> None:
        """Marks a stock used without reading it, whether it is here or not.

        Raises:
            StockError: its file cannot be removed.
        """
        self._burn(stock_id)
        self._sync_folder()

    @contextlib.contextmanager
    def burning(self, stock_id: str) -> Iterator[None]:
        """Discards a stock, if that is possible, when the block fails."""
        try:
            yield
        except BaseException:
            with contextlib.suppress(StockError):
                self.discard(stock_id)
            raise

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
            if used.stat().st_size:  # of a claim that failed half way
                self._put_empty_mark(used)
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
