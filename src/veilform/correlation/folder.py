"""The folder of a party's stocks: lock, ledger, files, and what a crash left of them."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import weakref
from pathlib import Path

from veilform.closing import Closing
from veilform.correlation.ledger import Damaged, Ledger
from veilform.errors import InputError
from veilform.roles import Role

log = logging.getLogger("veilform")

ID_PATTERN = "^[0-9a-f]{32}$"
_LEDGER = "ledger.sqlite"
_OTHERS_WRITE = 0o022


class StockFolder(Closing):
    """A folder of one role, open; others of that role may have it open, too.

    Attributes:
        path: where it is.
        ledger: what its stocks are.

    Raises:
        InputError: it cannot be made, is another role's, or others may write into it.
    """

    def __init__(self, path: Path, role: Role) -> None:
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            others = path.stat().st_mode & _OTHERS_WRITE
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self._lock = os.open(path / ".lock", flags, 0o600)
            self._unlock = weakref.finalize(self, os.close, self._lock)
            # The first store to come writes its role into the empty lock file.
            owner = os.pread(self._lock, 16, 0).decode("ascii", "replace")
            if not owner:
                os.pwrite(self._lock, role.value.encode("ascii"), 0)
            if owner not in ("", role.value):
                raise InputError(
                    f"the stock folder {path} is the {owner}'s; give each party its own"
                )
            if others:
                raise InputError(f"the stock folder {path} is open to other users: chmod 700 it")
            self.ledger = self._open()
        except OSError as error:
            raise InputError(f"the stock folder {path} cannot be used: {error.strerror}") from error

    def close(self) -> None:
        """Lets go of it, as the end of the process does. May be called again."""
        if self._unlock.alive:
            self.ledger.close()
            self._unlock()

    def file(self, stock_id: str) -> Path:
        """Of a stock, whether it is there or not."""
        return self.path / f"{stock_id}.stock"

    def remove(self, stock_id: str) -> None:
        """Removes the file of a stock that the ledger refuses already.

        What cannot be removed goes when the folder is next opened.
        """
        with contextlib.suppress(OSError):
            self.file(stock_id).unlink(missing_ok=True)

    def prune(self, ledger: Ledger | None = None) -> None:
        """Forgets old rows, and burns what is too old.

        Raises:
            LedgerFailed: the ledger cannot be changed.
        """
        for each in (ledger or self.ledger).prune():
            self.remove(each)

    def sync(self) -> None:
        """Waits until the disk has the names of its files.

        Raises:
            OSError: it has not.
        """
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _open(self) -> Ledger:
        """The ledger; who is alone in the folder first puts right what a crash left."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(self._lock, fcntl.LOCK_SH)
            return Ledger(self.path / _LEDGER)
        try:
            ledger = self._opened_alone()
            self._settle(ledger)
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_SH)
        return ledger

    def _opened_alone(self) -> Ledger:
        path = self.path / _LEDGER
        try:
            return Ledger(path)
        except Damaged:
            # Nobody can tell what was used: nothing here may be used any more.
            log.warning("the ledger in %s is damaged: all stocks there are burnt", self.path)
            for each in self._files():
                each.unlink()
            for end in ("", "-wal", "-shm"):
                path.with_name(path.name + end).unlink(missing_ok=True)
            return Ledger(path)

    def _settle(self, ledger: Ledger) -> None:
        """Rows and files agree afterwards: what is coming or has no file is burnt.

        A file whose row is not fresh goes: it was used, burnt, or never whole.
        """
        files = {path.stem: path for path in self._files()}
        fresh = ledger.settle(files)
        for stock_id, path in files.items():
            if stock_id not in fresh:
                path.unlink(missing_ok=True)
        for path in (*self.path.glob("*.used"), *self.path.glob("*.partial")):
            path.unlink(missing_ok=True)  # of releases before the ledger
        self.prune(ledger)
        self.sync()

    def _files(self) -> list[Path]:
        return [p for p in self.path.glob("*.stock") if re.fullmatch(ID_PATTERN, p.stem)]
