"""Stocks on disk that outlive their process, each used once whatever ends in between.

A folder holds a ledger (see `ledger`) and one file a stock, ``<id>.stock``. What the ledger says
counts: a stock may be claimed while its row is fresh, and the row is fresh only once the file is
whole on the disk. Claiming commits the row as used, to the disk, then opens the file and takes its
name away, and only then reads it. So at any moment that a process or the machine stops, a stock
that may have been read is used; what is left of the others is put right when the next process
opens the folder (see `folder`). Files are readable by their owner alone: a seed is as secret as the
input that it will hide.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated

import msgspec

from veilform.closing import Closing
from veilform.correlation.folder import ID_PATTERN, StockFolder
from veilform.correlation.ledger import Full, LedgerFailed, Row
from veilform.correlation.manifest import Manifest
from veilform.correlation.stock import Stock
from veilform.correlation.stockfile import Incoming, Outgoing, file_bytes
from veilform.errors import StockError
from veilform.roles import Role

StockId = Annotated[str, msgspec.Meta(pattern=ID_PATTERN)]
MOST_BYTES = 32 << 30
"""Of the stocks in a folder, unless told otherwise."""
_PUTS_PER_PRUNING = 256

Parts = Iterable[bytes | bytearray | memoryview]


def new_id() -> str:
    """A stock's name: 128 random bits in hexadecimal."""
    return secrets.token_hex(16)


class StockStore(Closing):
    """The stocks of one party in a folder. Several stores of one role may share one.

    ``peer`` names who has the other half. A stock is found only by the peer that it was kept for.

    Attributes:
        folder: where they are.
        id: random, of this folder, for as long as it is there.

    Args:
        most_bytes: of all stocks that are coming or fresh.

    Raises:
        InputError: the folder cannot be made, is another role's, or others may write into it.
    """

    def __init__(self, folder: Path, role: Role, most_bytes: int = MOST_BYTES) -> None:
        self.folder = folder
        self._role = role
        self._most_bytes = most_bytes
        self._puts = 0
        self._files = StockFolder(folder, role)
        self._ledger = self._files.ledger
        self.id = self._ledger.id
        # What a full disk did not take: done before the next stock comes or goes.
        self._owed: deque[Callable[[], None]] = deque()

    def close(self) -> None:
        """Lets go of the folder, as the end of the process does. May be called again."""
        self._files.close()

    def put(self, stock_id: str, manifest: Manifest, seed: bytes, dealt: Parts,
            corrections: Parts = (), peer: str = "") -> None:  # fmt: skip
        """Keeps a fresh stock.

        Raises:
            StockError: as in `incoming`.
        """
        with self.incoming(stock_id, manifest, seed, peer) as stock:
            for part in dealt:
                stock.dealt.write(part)
            for part in corrections:
                stock.corrections.write(part)

    @contextlib.contextmanager
    def incoming(
        self,
        stock_id: str,
        manifest: Manifest,
        seed: bytes,
        peer: str = "",
        most_of_peer: int | None = None,
    ) -> Iterator[Incoming]:
        """A fresh stock that comes in piece by piece.

        It can be claimed, and outlives a crash, once the block ends in the regular way. When that
        fails, or the process dies, nothing is left that could be claimed.

        Args:
            most_of_peer: stocks of this peer, at most.

        Raises:
            StockError: for an id that is known already, over a bound, when the disk does not take
                it, or when not all its bytes came.
        """
        start = time.perf_counter()
        path = self._path(stock_id)
        size = file_bytes(self._role, manifest)
        row = Row(
            stock_id, manifest.digest, manifest.weights, manifest.batch, manifest.length, peer, size
        )
        self._catch_up()
        try:
            with self._disk():
                if not self._ledger.begin(row, self._most_bytes, most_of_peer):
                    raise StockError(f"stock {stock_id} is known already; each is dealt once")
        except Full as error:
            raise StockError(f"no stock can be kept: {error}") from None
        descriptor = -1
        try:
            with self._disk():
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                descriptor = os.open(path, flags, 0o600)
            stock = Incoming(descriptor, self._role, manifest, seed)
            yield stock
            with self._disk():
                stock.seal()
                self._files.sync()
                if not self._ledger.freshen(stock_id, time.perf_counter() - start):
                    raise StockError(f"stock {stock_id} was burnt while it came")
        except BaseException:
            with contextlib.suppress(StockError):
                self.discard(stock_id, peer)
            path.unlink(missing_ok=True)
            raise
        finally:
            if descriptor >= 0:
                os.close(descriptor)
        self._puts += 1
        if self._puts % _PUTS_PER_PRUNING == 0:
            with contextlib.suppress(LedgerFailed):
                self._files.prune()

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StockError(
                f"a stock cannot be kept in {self.folder}: {error.strerror}; free some space, "
                "or choose a folder on another disk"
            ) from error

    def claim(self, stock_id: str, manifest: Manifest, peer: str = "") -> Stock:
        """Marks a stock used, then opens it. Its content is read as the run takes it.

        Raises:
            StockError: it is unknown, used already, held by another run, for something else, or
                damaged. In the last two cases it is used up as well. Damage further on shows when
                that is taken.
        """
        path = self._path(stock_id)
        try:
            claimed = self._ledger.claim(stock_id, peer)
        except OSError as error:
            raise StockError(
                f"stock {stock_id} cannot be marked used, so it is not read: {error.strerror}"
            ) from error
        if not claimed:
            raise StockError(self._why_not(stock_id, peer))
        try:
            content = Outgoing(_without_name(path), self._role, manifest)
        except OSError as error:
            raise StockError(f"stock {stock_id} cannot be read: {error.strerror}") from error
        except StockError as error:
            raise StockError(f"stock {stock_id} {error}") from None
        return Stock(self._role, manifest, content.seed, content.fields())

    def take(self, manifest: Manifest, peer: str = "") -> Row | None:
        """Holds a stock for one run: nobody else takes it, and no other process claims it.

        Raises:
            StockError: the ledger cannot be used.
        """
        self._catch_up()
        with self._reading():
            return self._ledger.take(manifest.digest, peer)

    def release(self, stock_id: str) -> None:
        """Lets go of a stock that was taken and not claimed. Otherwise nothing happens.

        Raises:
            StockError: the ledger cannot be used; it is tried again later.
        """
        with self._owing(lambda: self.release(stock_id)), self._reading():
            self._ledger.release(stock_id)

    def ready(self, manifest: Manifest, peer: str = "") -> int:
        """How many stocks could be taken.

        Raises:
            StockError: the ledger cannot be used.
        """
        with self._reading():
            return self._ledger.ready(manifest.digest, peer)

    def find(self, stock_id: str, peer: str = "") -> Row | None:
        """A fresh stock of this peer.

        Raises:
            StockError: the ledger cannot be used.
        """
        with self._reading():
            found = self._ledger.find(stock_id)
        return found[0] if found and found[0].peer == peer and found[1] == "fresh" else None

    def kept(self, peer: str) -> dict[str, bool]:
        """The stocks of this peer that came or are coming: whether they are fresh.

        Raises:
            StockError: the ledger cannot be used.
        """
        with self._reading():
            return {each: state == "fresh" for each, state in self._ledger.kept(peer).items()}

    def discard(self, stock_id: str, peer: str = "") -> None:
        """Burns a stock of this peer without reading it. Nothing happens if there is none.

        Raises:
            StockError: the ledger cannot be used; it is tried again later.
        """
        self._path(stock_id)
        with self._owing(lambda: self.discard(stock_id, peer)), self._reading():
            if self._ledger.burn(stock_id, peer):
                self._files.remove(stock_id)

    def burn_idle(self, stock_ids: Iterable[str], peer: str) -> int:
        """Burns those of this peer's stocks that are fresh and not held; how many.

        Raises:
            StockError: the ledger cannot be used.
        """
        with self._reading():
            return self._removed(self._ledger.burn_idle(stock_ids, peer))

    def burn_other_weights(self, known: Iterable[str]) -> int:
        """Burns what was dealt with masked weights that are not among ``known``; how many.

        Raises:
            StockError: the ledger cannot be used.
        """
        with self._reading():
            return self._removed(self._ledger.burn_other_weights(known))

    @contextlib.contextmanager
    def burning(self, stock_id: str, peer: str = "") -> Iterator[None]:
        """Discards a stock, if that is possible, when the block fails."""
        try:
            yield
        except BaseException:
            with contextlib.suppress(StockError):
                self.discard(stock_id, peer)
            raise

    @contextlib.contextmanager
    def _owing(self, act: Callable[[], None]) -> Iterator[None]:
        try:
            yield
        except StockError:
            self._owed.append(act)
            raise

    def _catch_up(self) -> None:
        """Does what is owed; what fails again stays owed, and the rest with it."""
        with contextlib.suppress(IndexError, StockError):
            for _ in range(len(self._owed)):
                self._owed.popleft()()

    def _removed(self, burnt: list[str]) -> int:
        for each in burnt:
            self._files.remove(each)
        return len(burnt)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StockError(
                f"the stocks in {self.folder} cannot be used: {error.strerror}"
            ) from error

    def _path(self, stock_id: str) -> Path:
        if not re.fullmatch(ID_PATTERN, stock_id):
            raise StockError("a stock's id is 32 hexadecimal digits")
        return self._files.file(stock_id)

    def _why_not(self, stock_id: str, peer: str) -> str:
        with self._reading():
            found = self._ledger.find(stock_id)
        if found is None or found[0].peer != peer or found[1] == "coming":
            return f"stock {stock_id} is not kept here; ask the dealer for it first"
        if found[1] == "fresh":
            return f"stock {stock_id} is held by another run"
        return f"stock {stock_id} was used already; ask the dealer for a new one"

    def __repr__(self) -> str:
        return f"StockStore({self._role.value} at {self.folder})"


def _without_name(path: Path) -> int:
    """Opens a claimed file and takes its name away: it ends with its reader."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        path.unlink()
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
