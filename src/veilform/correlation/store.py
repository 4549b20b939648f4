"""Stocks on disk. A stock is marked used, durably, before anything of it is read: no crash brings it back.

A folder holds one file a stock: ``<id>.stock`` while it is fresh, ``<id>.used``, empty, ever after. Claiming
is one rename, so of two claims one fails. Files are readable by their owner alone: a seed is as secret as
the input it will hide.
"""

from __future__ import annotations

import os
import re
import secrets
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
_MAGIC = b"VEILSTK1"
_MOST_HEADER_BYTES = 1024


def new_id() -> str:
    """A stock's name: 128 random bits in hexadecimal."""
    return secrets.token_hex(16)


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a stock file says of itself."""

    role: Role
    manifest: str
    seed: bytes
    dealt: int
    corrections: int


class StockStore:
    """The stocks of one party in a folder."""

    def __init__(self, folder: Path, role: Role) -> None:
        self._folder = folder
        self._role = role
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"the stock folder {folder} cannot be made: {error.strerror}"
            ) from error

    def put(
        self,
        stock_id: str,
        manifest: Manifest,
        seed: bytes,
        dealt: Iterable[bytes | bytearray | memoryview],
        corrections: Iterable[bytes | bytearray | memoryview] = (),
    ) -> None:
        """Keeps a fresh stock. It is on the disk when this returns.

        Raises:
            StockError: for an id that is known already, or when the disk does not take it.
        """
        fresh, used = self._paths(stock_id)
        if fresh.exists() or used.exists():
            raise StockError(f"stock {stock_id} is known already; each is dealt once")
        dealt, corrections = list(dealt), list(corrections)
        sizes = [sum(len(memoryview(p).cast("B")) for p in parts) for parts in (dealt, corrections)]
        header = msgspec.msgpack.encode(_Header(self._role, manifest.digest, seed, *sizes))
        partial = fresh.with_suffix(".partial")
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "wb") as file:
                file.write(_MAGIC + len(header).to_bytes(4, "little") + header)
                for part in [*dealt, *corrections]:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            partial.rename(fresh)
            self._sync_folder()
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise StockError(
                f"a stock cannot be kept in {self._folder}: {error.strerror}; free some space"
            ) from error

    def claim(self, stock_id: str, manifest: Manifest) -> Stock:
        """Marks a stock used, then reads it.

        Raises:
            StockError: it is unknown, used already, for something else, or damaged. In the last two cases it
                is used up as well.
        """
        fresh, used = self._paths(stock_id)
        try:
            # link fails where a used mark exists; rename would replace it.
            os.link(fresh, used)
            fresh.unlink()
            self._sync_folder()
        except FileNotFoundError:
            raise StockError(self._why_not(stock_id, used)) from None
        except FileExistsError:
            fresh.unlink(missing_ok=True)
            raise StockError(
                f"stock {stock_id} was used already; ask the dealer for a new one"
            ) from None
        try:
            content = memoryview(used.read_bytes())
        finally:
            with open(used, "r+b") as file:
                file.truncate(0)
                os.fsync(file.fileno())
        return self._open(stock_id, content, manifest)

    def discard(self, stock_id: str) -> None:
        """Marks a stock used without reading it, whether it is here or not."""
        fresh, used = self._paths(stock_id)
        used.touch(mode=0o600)
        fresh.unlink(missing_ok=True)
        self._sync_folder()

    def _open(self, stock_id: str, content: memoryview, manifest: Manifest) -> Stock:
        damaged = f"stock {stock_id} is damaged; ask the dealer for a new one"
        size = int.from_bytes(content[8:12], "little")
        if bytes(content[:8]) != _MAGIC or size > _MOST_HEADER_BYTES:
            raise StockError(damaged)
        try:
            header = msgspec.msgpack.decode(content[12 : 12 + size], type=_Header)
        except msgspec.MsgspecError:
            raise StockError(damaged) from None
        body = content[12 + size :]
        if len(body) != header.dealt + header.corrections:
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
        return f"stock {stock_id} is not in {self._folder}; ask the dealer for it first"

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def __repr__(self) -> str:
        return f"StockStore({self._role.value} at {self._folder})"
