"""What became of every stock: the ledgers' own changes, as SQLite saw them, and what they prove.

A trigger in each ledger writes down every change of a stock's state, within the transaction that
makes it; the product knows nothing of it. A stock is used at most once if no id enters a ledger
twice, none turns "used" twice, and none turns from "used" or "burnt" into anything but forgotten.
It is used with one run only if what a client used is what the server used, and what either has used
or burnt is no longer to be had from the other, once they have spoken.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

FILE = "ledger.sqlite"
_TRIGGERS = """
    CREATE TABLE IF NOT EXISTS audit (id TEXT, before TEXT, after TEXT);
    CREATE TRIGGER IF NOT EXISTS audit_new AFTER INSERT ON stocks
        BEGIN INSERT INTO audit VALUES (new.id, '', new.state); END;
    CREATE TRIGGER IF NOT EXISTS audit_change AFTER UPDATE OF state ON stocks
        WHEN old.state <> new.state
        BEGIN INSERT INTO audit VALUES (new.id, old.state, new.state); END;
    CREATE TRIGGER IF NOT EXISTS audit_gone AFTER DELETE ON stocks
        BEGIN INSERT INTO audit VALUES (old.id, old.state, 'gone'); END;
"""
_FORWARD = {
    ("", "coming"), ("coming", "fresh"), ("coming", "burnt"), ("fresh", "used"),
    ("fresh", "burnt"), ("used", "gone"), ("burnt", "gone"),
}  # fmt: skip


class Change(NamedTuple):
    """Of one stock's state; "" before it was there, "gone" when its row was forgotten."""

    stock: str
    before: str
    after: str


def watch(folder: Path) -> None:
    """Has the ledger in a stock folder write down its changes from now on."""
    with contextlib.closing(sqlite3.connect(folder / FILE, timeout=10)) as ledger:
        ledger.executescript(_TRIGGERS)


def changes(folder: Path) -> list[Change]:
    """All of them, in order."""
    with contextlib.closing(sqlite3.connect(folder / FILE, timeout=10)) as ledger:
        rows = ledger.execute("SELECT id, before, after FROM audit ORDER BY rowid")
        return [Change(*row) for row in rows]


def used(seen: list[Change]) -> set[str]:
    """The stocks that were ever used."""
    return {change.stock for change in seen if change.after == "used"}


def counts(seen: list[Change]) -> dict[str, int]:
    """How many stocks ever came to each state."""
    return dict(sorted(Counter(change.after for change in seen).items()))


def violations(who: str, seen: list[Change]) -> list[str]:
    """What must not be in one ledger's changes."""
    found = [
        f"{who}: stock {c.stock[:8]} went from {c.before or 'nothing'} to {c.after}"
        for c in seen if c[1:] not in _FORWARD
    ]  # fmt: skip
    for state in ("coming", "used"):
        times = Counter(change.stock for change in seen if change.after == state)
        found += [f"{who}: stock {i[:8]} was {state} {n} times" for i, n in times.items() if n > 1]
    return found


def between(clients: Mapping[str, list[Change]], server: list[Change]) -> list[str]:
    """What must not be between the ledgers, once the parties have spoken and stopped."""
    found: list[str] = []
    theirs = {change.stock: change.after for change in server}
    used_there, owners = used(server), Counter[str]()
    for who, seen in clients.items():
        last = {change.stock: change.after for change in seen}
        owners.update(last.keys())
        found += [
            f"{who} used stock {stock[:8]}, and the server did not"
            for stock in used(seen) - used_there
        ]
        found += [
            f"stock {stock[:8]} is {who}'s to claim, and {theirs.get(stock, 'unknown')} there"
            for stock, state in last.items()
            if state == "fresh" and theirs.get(stock, "fresh") != "fresh"
        ]
    return found + [f"stock {i[:8]} belongs to {n} clients" for i, n in owners.items() if n > 1]
