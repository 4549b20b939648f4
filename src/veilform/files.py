"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside ``path`` to write, which takes its place when all went well.

    It is made at once, its folders too: who computes for long in here knows that it can be written.

    Raises:
        OSError: it cannot.
    """
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    part.touch()
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
