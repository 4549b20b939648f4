"""The disk of one party's stocks, which can be full.

A small file system of its own in memory where mounting is allowed: full, it refuses with ENOSPC.
Beside that, or in its place, the kernel can be told to let no file of a process grow: EFBIG.
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from pathlib import Path

from faulting.parties import Party

SIZE = 3 << 29
_FILLER = "filler"
_BLOCK = 4096
_UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


class Disk:
    """A folder, mounted if that is permitted.

    Attributes:
        folder: for the stocks.
        mounted: whether it is a file system of its own, of `SIZE` bytes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700)
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "none", str(folder)]
        with contextlib.suppress(FileNotFoundError):
            subprocess.run(command, check=False, capture_output=True)
        self.mounted = folder.is_mount()

    def fill(self) -> None:
        """Takes all room there is."""
        with open(self.folder / _FILLER, "wb", buffering=0) as filler:
            with contextlib.suppress(OSError):
                free = os.statvfs(self.folder)
                os.posix_fallocate(filler.fileno(), 0, free.f_bavail * free.f_frsize)
            filler.seek(0, os.SEEK_END)
            with contextlib.suppress(OSError):
                while True:
                    filler.write(bytes(_BLOCK))

    def free(self) -> None:
        """Gives it back."""
        (self.folder / _FILLER).unlink()

    def close(self) -> None:
        """Unmounts it."""
        if self.mounted:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=False)


def allow_files(party: Party, most_bytes: int | None) -> None:
    """From now on no file of a party's process can grow beyond this size; None: any can."""
    limits = _UNLIMITED if most_bytes is None else (most_bytes, resource.RLIM_INFINITY)
    with contextlib.suppress(ProcessLookupError):
        resource.prlimit(party.pid, resource.RLIMIT_FSIZE, limits)
