"""The kernel's own record of the stock files (inotify): a proof that does not rest on the ledgers.

To use a stock is to open its file; the file is opened once to be written and, when it is claimed,
once to be read. All folders are watched through one queue, so the order between parties shows too.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import struct
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

_OPEN, _CREATE, _OVERFLOW, _ISDIR = 0x20, 0x100, 0x4000, 0x40000000
# Two equal events one after the other are one to the kernel: these keep openings apart.
_BETWEEN = 0x8 | 0x200  # closed after writing, deleted
_HEAD = struct.Struct("=iIII")
_BUFFER = 1 << 20
_SUFFIX = ".stock"


class Seen(NamedTuple):
    """A stock's file was created, or opened, in somebody's folder."""

    who: str
    stock: str
    created: bool


class Witness:
    """Watches folders from now on, until `close`.

    Attributes:
        seen: what happened, in order.
        lost: whether the kernel's queue ran over.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        self._watched: dict[int, str] = {}
        for who, folder in folders.items():
            watch = libc.inotify_add_watch(
                self._descriptor, bytes(folder), _OPEN | _CREATE | _BETWEEN
            )
            if watch < 0:
                raise OSError(ctypes.get_errno(), "the folder cannot be watched", str(folder))
            self._watched[watch] = who
        self.seen: list[Seen] = []
        self.lost = False
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Takes what is left in the queue, and ends."""
        self._ending.set()
        self._thread.join()
        os.close(self._descriptor)

    def _read(self) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        while poll.poll(100) or not self._ending.is_set():
            with contextlib.suppress(BlockingIOError):
                self._take(os.read(self._descriptor, _BUFFER))

    def _take(self, content: bytes) -> None:
        at = 0
        while at < len(content):
            watch, mask, _, size = _HEAD.unpack_from(content, at)
            at += _HEAD.size + size
            name = content[at - size : at].rstrip(b"\0").decode()
            self.lost |= bool(mask & _OVERFLOW)
            if name.endswith(_SUFFIX) and mask & (_OPEN | _CREATE) and not mask & _ISDIR:
                stock = name.removesuffix(_SUFFIX)
                self.seen.append(Seen(self._watched[watch], stock, bool(mask & _CREATE)))


def read(seen: Sequence[Seen], who: str) -> list[str]:
    """The stocks that somebody opened to read, in order: every opening after the one to write."""
    written: set[str] = set()
    found = []
    for each in seen:
        if each.who != who or each.created:
            continue
        if each.stock in written:
            found.append(each.stock)
        written.add(each.stock)
    return found


def violations(seen: Sequence[Seen], lost: bool, server: str, clients: Sequence[str]) -> list[str]:
    """What must not be in the record."""
    found = ["the kernel's record of the stock files has gaps"] if lost else []
    for who in (server, *clients):
        made = Counter(each.stock for each in seen if each.who == who and each.created)
        times = Counter(read(seen, who))
        found += [f"{who}: file {i[:8]} was made {n} times" for i, n in made.items() if n > 1]
        found += [f"{who}: file {i[:8]} was read {n} times" for i, n in times.items() if n > 1]
    found += [f"a client read {i[:8]} before the server did" for i in _early(seen, server)]
    return found


def _early(seen: Sequence[Seen], server: str) -> list[str]:
    """What a client opened to read while the server had not."""
    opened: Counter[tuple[str, str]] = Counter()
    early = []
    for each in seen:
        if each.created:
            continue
        opened[each.who, each.stock] += 1
        is_read = opened[each.who, each.stock] > 1
        if is_read and each.who != server and opened[server, each.stock] < 2:
            early.append(each.stock)
    return early
