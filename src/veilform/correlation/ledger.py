"""The ledger of a stock folder: which stocks were begun, may be claimed, are used or burnt.

An SQLite file in write-ahead mode. A stock goes ``coming`` -> ``fresh`` -> ``used``, or from either
of the first two to ``burnt``; no statement here leads back, and an id enters once. Each change is
one transaction with its condition in it, so of two processes that want the same, one gets it. What
must outlive a crash (fresh, used, burnt) is on the disk when its call returns; what may be lost
(coming, and who holds a fresh one) is not waited for: losing that burns a stock or frees it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import sqlite3
import threading
import time
import weakref
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

KEEP_ROWS_S = 7 * 86_400.0
"""Of stocks that are used or burnt. Nothing depends on a row that is gone: the file is gone, too,
and nobody draws the same 128 random bits again."""
KEEP_FRESH_S = 30 * 86_400.0
"""A stock that nobody asked for in this time is burnt: its other half may be long lost."""
KEEP_COMING_S = 3600.0
"""A stock that did not come whole in this time is burnt: who received it is gone."""
MOST_ROWS = 1 << 20
_BUSY_S = 10.0
_PROCESS = secrets.token_hex(8)
_COLUMNS = "id, manifest, weights, batch, length, peer, bytes, seconds"
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS stocks (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        manifest TEXT NOT NULL,
        weights TEXT NOT NULL,
        batch INTEGER NOT NULL,
        length INTEGER NOT NULL,
        peer TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        seconds REAL NOT NULL DEFAULT 0,
        state TEXT NOT NULL CHECK (state IN ('coming', 'fresh', 'used', 'burnt')),
        holder TEXT,
        made REAL NOT NULL,
        changed REAL NOT NULL
    )""",
    "CREATE INDEX IF NOT EXISTS ready ON stocks (state, peer, manifest)",
    "CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
)


class Row(NamedTuple):
    """One stock as the ledger has it.

    Attributes:
        manifest: its digest.
        weights: the id of the masked weights that it was dealt with.
        batch, length: the shape of its run.
        peer: whom the other half belongs to, as this side knows it.
        bytes: of the file.
        seconds: that its making took.
    """

    id: str
    manifest: str
    weights: str
    batch: int
    length: int
    peer: str
    bytes: int
    seconds: float = 0.0


class LedgerFailed(OSError):
    """The disk or the file does not take a change, or cannot be read. Nothing has changed."""

    def __init__(self, error: sqlite3.Error) -> None:
        super().__init__(errno.EIO, f"its ledger cannot be used: {error}")


class Damaged(LedgerFailed):
    """The file is no ledger, or not a whole one."""


class Full(Exception):
    """A bound would be exceeded. The text says which."""


class Ledger:
    """The ledger at ``path``. Any thread and any process may use it beside others.

    Attributes:
        id: of the folder, 128 random bits in hexadecimal.

    Raises:
        Damaged, LedgerFailed: it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        # SQLite gives its other files the mode of this one.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._lock = threading.Lock()
        # A stock that one store of a process took may be claimed by another.
        self._me = f"{_PROCESS} {os.getpid()}"
        with _explained():
            self._db = sqlite3.connect(
                path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
        self.close = weakref.finalize(self, self._db.close)
        try:
            with _explained():
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")
                if self._db.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                    raise sqlite3.DatabaseError("it is damaged")
                with self._transaction():
                    for statement in _SCHEMA:
                        self._db.execute(statement)
                    self._db.execute(
                        "INSERT OR IGNORE INTO about VALUES ('id', ?)", (secrets.token_hex(16),)
                    )
                self.id: str = self._db.execute(
                    "SELECT value FROM about WHERE name = 'id'"
                ).fetchone()[0]
        except BaseException:
            self._db.close()
            raise

    def begin(self, row: Row, most_bytes: int, most_of_peer: int | None = None) -> bool:
        """Enters a stock as coming; False if its id is known.

        Raises:
            Full: it would be over ``most_bytes`` of all stocks, or ``most_of_peer`` stocks.
        """
        now = time.time()
        with self._change(wait=False), self._transaction():
            known = self._db.execute("SELECT 1 FROM stocks WHERE id = ?", (row.id,)).fetchone()
            if known:
                return False
            (total,) = self._db.execute(
                "SELECT coalesce(sum(bytes), 0) FROM stocks WHERE state IN ('coming', 'fresh')"
            ).fetchone()
            if total + row.bytes > most_bytes:
                raise Full(
                    f"its stocks would take {total + row.bytes} bytes, over the limit of "
                    f"{most_bytes}"
                )
            if most_of_peer is not None:
                waiting = len(self._ids(row.peer))
                if waiting >= most_of_peer:
                    raise Full(f"{waiting} stocks of this client wait already; use them first")
            self._db.execute(
                f"INSERT INTO stocks ({_COLUMNS}, state, made, changed) "  # noqa: S608 - constants
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'coming', ?, ?)",
                (*row, now, now),
            )
        return True

    def freshen(self, stock_id: str, seconds: float) -> bool:
        """A stock that was coming is whole and may be claimed; False if it was burnt meanwhile."""
        return self._update(
            "state = 'fresh', seconds = ?", "id = ? AND state = 'coming'", (seconds, stock_id)
        )

    def claim(self, stock_id: str, peer: str) -> bool:
        """A fresh stock is used; False if it is not fresh, another's, or held by another."""
        return self._update(
            "state = 'used'",
            "id = ? AND peer = ? AND state = 'fresh' AND coalesce(holder, ?) = ?",
            (stock_id, peer, self._me, self._me),
        )

    def burn(self, stock_id: str, peer: str) -> bool:
        """A stock that is coming or fresh is burnt; False if there is none of that peer."""
        return self._update(
            "state = 'burnt'",
            "id = ? AND peer = ? AND state IN ('coming', 'fresh')",
            (stock_id, peer),
        )

    def burn_idle(self, stock_ids: Iterable[str], peer: str) -> list[str]:
        """Burns those that are fresh and that nobody holds; which."""
        return [
            each
            for each in stock_ids
            if self._update(
                "state = 'burnt'",
                "id = ? AND peer = ? AND state = 'fresh' AND holder IS NULL",
                (each, peer),
            )
        ]

    def take(self, manifest: str, peer: str) -> Row | None:
        """The oldest fresh stock of a manifest that nobody holds, held from now on; or none."""
        with self._change(wait=False), self._transaction():
            found = self._db.execute(
                f"SELECT {_COLUMNS} FROM stocks WHERE state = 'fresh' AND peer = ? "  # noqa: S608 - constants
                "AND manifest = ? AND holder IS NULL ORDER BY number LIMIT 1",
                (peer, manifest),
            ).fetchone()
            if found is None:
                return None
            self._db.execute("UPDATE stocks SET holder = ? WHERE id = ?", (self._me, found[0]))
        return Row(*found)

    def release(self, stock_id: str) -> None:
        """Lets go of a fresh stock that `take` gave."""
        self._update("holder = NULL", "id = ? AND holder = ?", (stock_id, self._me), wait=False)

    def find(self, stock_id: str) -> tuple[Row, str] | None:
        """A stock and its state."""
        with self._change():
            found = self._db.execute(
                f"SELECT {_COLUMNS}, state FROM stocks WHERE id = ?",  # noqa: S608 - constants
                (stock_id,),
            ).fetchone()
        return (Row(*found[:-1]), found[-1]) if found else None

    def ready(self, manifest: str, peer: str) -> int:
        """How many stocks `take` could give."""
        with self._change():
            (count,) = self._db.execute(
                "SELECT count(*) FROM stocks WHERE state = 'fresh' AND peer = ? AND manifest = ? "
                "AND holder IS NULL",
                (peer, manifest),
            ).fetchone()
        return int(count)

    def kept(self, peer: str) -> dict[str, str]:
        """The stocks of a peer that are coming or fresh, oldest first: their states."""
        with self._change():
            return dict(self._ids(peer))

    def settle(self, files: Container[str]) -> set[str]:
        """For who is alone in the folder: what is coming, or fresh without a file, is burnt.

        Nobody holds anything afterwards.

        Returns:
            The stocks that are fresh.
        """
        with self._change(), self._transaction():
            rows = self._db.execute(
                "SELECT id, state FROM stocks WHERE state IN ('coming', 'fresh')"
            ).fetchall()
            kept = {i for i, state in rows if state == "fresh" and i in files}
            self._burn(stock_id for stock_id, _ in rows if stock_id not in kept)
            self._db.execute("UPDATE stocks SET holder = NULL WHERE holder IS NOT NULL")
        return kept

    def burn_other_weights(self, known: Iterable[str]) -> list[str]:
        """Burns stocks that were dealt with masked weights which nobody has any more; which."""
        kept = set(known)
        with self._change(), self._transaction():
            rows = self._db.execute("SELECT id, weights FROM stocks WHERE state = 'fresh'")
            lost = [stock_id for stock_id, weights in rows.fetchall() if weights not in kept]
            self._burn(lost)
        return lost

    def prune(self) -> list[str]:
        """Forgets old rows, and burns what was coming or fresh for too long; which.

        A clock that jumps ahead does both early, which costs stocks and nothing else; one that
        jumps back does both late, and `MOST_ROWS` bounds the file.
        """
        now = time.time()
        with self._change(), self._transaction():
            rows = self._db.execute(
                "SELECT id FROM stocks WHERE state = 'fresh' AND holder IS NULL AND made < ? "
                "OR state = 'coming' AND made < ?",
                (now - KEEP_FRESH_S, now - KEEP_COMING_S),
            )
            old = [stock_id for (stock_id,) in rows.fetchall()]
            self._burn(old)
            self._db.execute(
                "DELETE FROM stocks WHERE state IN ('used', 'burnt') AND (changed < ? OR "
                "number <= (SELECT coalesce(max(number), 0) FROM stocks) - ?)",
                (now - KEEP_ROWS_S, MOST_ROWS),
            )
        return old

    def _burn(self, stock_ids: Iterable[str]) -> None:
        self._db.executemany(
            "UPDATE stocks SET state = 'burnt', changed = ? WHERE id = ?",
            [(time.time(), each) for each in stock_ids],
        )

    def _ids(self, peer: str) -> list[tuple[str, str]]:
        return self._db.execute(
            "SELECT id, state FROM stocks WHERE state IN ('coming', 'fresh') AND peer = ? "
            "ORDER BY number",
            (peer,),
        ).fetchall()

    def _update(self, change: str, where: str, values: tuple[Any, ...], wait: bool = True) -> bool:
        """One conditional change of one row, committed when this returns; whether it was made."""
        count = change.count("?")
        with self._change(wait):
            done = self._db.execute(
                f"UPDATE stocks SET {change}, changed = ? WHERE {where}",  # noqa: S608 - constants
                (*values[:count], time.time(), *values[count:]),
            )
            return done.rowcount == 1

    @contextlib.contextmanager
    def _change(self, wait: bool = True) -> Iterator[None]:
        """One caller at a time; with ``wait``, its commit waits for the disk."""
        with self._lock, _explained():
            self._db.execute(f"PRAGMA synchronous = {'FULL' if wait else 'NORMAL'}")
            yield

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        # The class itself, and none below it, is for a file that is no ledger.
        kind = Damaged if type(error) is sqlite3.DatabaseError else LedgerFailed
        raise kind(error) from None
