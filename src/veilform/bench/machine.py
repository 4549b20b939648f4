"""What a measurement ran on, and what its processes took."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path

from veilform import __version__, kernels


def describe() -> dict[str, object]:
    """Processor, cores, memory, software: whatever a reader needs to place a figure."""
    return {
        "processor": _field("/proc/cpuinfo", r"model name\s*:\s*(.+)") or platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": _memory_gb(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "veilform": __version__,
        "kernels": kernels.info()["path"],
        "threads": kernels.threads(),
        # Processes that wanted a core in the last minute; the measured ones are among them.
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def save(path: Path, command: str, figures: Mapping[str, object]) -> None:
    """Writes figures as JSON, with the command that made them and what it ran on."""
    document = {"command": command, "machine": describe(), **figures}
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def peak_rss_mb(pid: int) -> float | None:
    """The most memory that a running process ever held, in MB of 10^6 bytes; None outside Linux.

    From /proc: ``getrusage`` would count the pages that the process had before it became this
    program, which are those of whoever started it.
    """
    peak = _field(f"/proc/{pid}/status", r"VmHWM:\s*(\d+) kB")
    return round(int(peak) * 1024 / 1e6, 1) if peak else None


def _memory_gb() -> float | None:
    total = _field("/proc/meminfo", r"MemTotal:\s*(\d+) kB")
    return round(int(total) * 1024 / 1e9, 1) if total else None


def _field(path: str, pattern: str) -> str | None:
    try:
        found = re.search(pattern, Path(path).read_text(encoding="utf-8"))
    except OSError:
        return None
    return found[1].strip() if found else None
