"""The planner's JSON files, read into structs."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from veilform.errors import InputError

MOST_BYTES = 1 << 28

T = TypeVar("T")


def read_json(path: Path, kind: type[T], what: str) -> T:
    """Of a kind, from a file of at most ``MOST_BYTES``.

    Args:
        what: of the file, if it is something else: "no file of trials", say.

    Raises:
        InputError: it cannot be read, or is something else.
    """
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(MOST_BYTES), type=kind)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise InputError(f"{path} is {what}: {error}") from None
