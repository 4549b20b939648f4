"""The wall clock of one party, set ahead or back while it runs."""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")
VARIABLES = ("LD_PRELOAD", "FAULTS_CLOCK")


class Clock:
    """A clock in a folder of its own: a library to preload, and its offset in a file."""

    def __init__(self, folder: Path) -> None:
        self._library, self._file = folder / "clock.so", folder / "clock"
        compiler = os.environ.get("CC", "cc")
        command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(self._library), str(SOURCE)]
        subprocess.run([*command, "-ldl"], check=True)
        self._file.write_bytes(bytes(8))
        with self._file.open("r+b") as file:
            self._at = mmap.mmap(file.fileno(), 8)

    @property
    def environment(self) -> dict[str, str]:
        """For a process that goes by this clock."""
        return dict(zip(VARIABLES, (str(self._library), str(self._file)), strict=True))

    def set(self, seconds: int) -> None:
        """So many seconds ahead of the machine's clock, or behind."""
        self._at[:] = struct.pack("=q", seconds)
