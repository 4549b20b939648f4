"""A server's masked weights, kept in its stock folder so that stocks outlive the process.

One P for each W, for as long as both last. The dealer sees s = P - W, the same s whenever the
weights are registered again, so it learns nothing more; clients see P, fresh randomness to them.
What must never be is two W under one P: s - s' would tell the dealer W' - W. So a record is bound
to the digest of the ring elements themselves, besides that of the model: whatever changes them, be
it a checkpoint, its scales or a release that encodes otherwise, finds no record and draws a new P.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec

from veilform.errors import InputError
from veilform.models.sides import ServerSide, fresh_weights

log = logging.getLogger("veilform")

_FOLDER = "weights"
_MOST_BYTES = 4096

Masking = tuple[str, bytes]
"""The masked weights' id, and the seed of their common part P."""


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file's content. Its text form shows no seed."""

    model: str
    content: str
    weights: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
    seed: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]

    def __repr__(self) -> str:
        return f"Record({self.weights})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("weights", self.weights)]


def new_masking(_: ServerSide) -> Masking:
    """For a server that ends with its process."""
    return fresh_weights()


def kept_in(folder: Path) -> Callable[[ServerSide], Masking]:
    """The masking of each model, from the folder or new in it.

    Raises:
        InputError: by what is returned, when the folder cannot be used.
    """

    def masking(side: ServerSide) -> Masking:
        try:
            return _kept(folder / _FOLDER, side)
        except OSError as error:
            raise InputError(
                f"the masked weights cannot be kept in {folder}: {error.strerror}"
            ) from error

    return masking


def _kept(folder: Path, side: ServerSide) -> Masking:
    folder.mkdir(mode=0o700, exist_ok=True)
    name = hashlib.sha256(f"{side.model} {side.content}".encode()).hexdigest()[:32]
    path = folder / f"{name}.seed"
    found = _read(path, side)
    if found is None:
        _write(path, Record(side.model, side.content, *fresh_weights()))
        # Of two processes that write at once, both take what is there in the end.
        found = _read(path, side)
    if found is None:
        raise OSError(None, "what was written is not what is read")
    return found.weights, found.seed


def _read(path: Path, side: ServerSide) -> Record | None:
    """The record of a model, if there is a whole one."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    with contextlib.suppress(msgspec.MsgspecError, ValueError):
        digest, body = content[:32], content[32:]
        if len(content) <= _MOST_BYTES and hashlib.sha256(body).digest() == digest:
            record = msgspec.msgpack.decode(body, type=Record)
            if (record.model, record.content) == (side.model, side.content):
                return record
    log.warning("%s is damaged: new masked weights take the place of those in it", path)
    path.unlink(missing_ok=True)
    return None


def _write(path: Path, record: Record) -> None:
    """On the disk when this returns. A record that is there stays."""
    partial = path.with_name(f"{secrets.token_hex(8)}.partial")
    body = msgspec.msgpack.encode(record)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with open(os.open(partial, flags, 0o600), "wb") as file:
            file.write(hashlib.sha256(body).digest() + body)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
