"""Which kernel path runs: chosen once from the CPU and the environment, and seldom changed."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

_native: Any
try:
    from veilform.kernels import _native  # type: ignore[attr-defined,no-redef,unused-ignore]
except ImportError:  # a source tree that was never built
    _native = None

#: Slowest to fastest; the position of a compiled path is its code in the extension.
COMPILED = ("portable", "avx2", "avx512")
PATHS = ("reference", *COMPILED)


@dataclass(frozen=True)
class Selection:
    """The path in use, the extension's code for it, and how many threads a call may use."""

    path: str
    threads: int
    code: int

    @property
    def native(self) -> Any:
        """The compiled extension, or None for the reference path."""
        return None if self.path == "reference" else _native

    @property
    def dpf(self) -> Any:
        """The extension if this path has AES instructions, else None.

        Without them the reference runs, whose AES is OpenSSL's: there is no table-based AES here.
        """
        return _native if self.path != "reference" and _native.has_aes(self.code) else None


def available() -> tuple[str, ...]:
    """The paths that this CPU and this installation can run, slowest first."""
    if _native is None:
        return ("reference",)
    return ("reference", *(p for i, p in enumerate(COMPILED) if _native.supported(i)))


def _select(path: str, threads: int) -> Selection:
    if path not in PATHS:
        raise ValueError(f"no kernel path {path!r}; choose one of {', '.join(PATHS)}")
    if path not in available():
        raise ValueError(
            f"the kernel path {path!r} does not run here; available: {', '.join(available())}"
        )
    return Selection(path, threads, COMPILED.index(path) if path in COMPILED else -1)


def _initial() -> Selection:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    wanted = os.environ.get("VEILFORM_THREADS", "").strip()
    if wanted and not (wanted.isdigit() and int(wanted) >= 1):
        raise ValueError(f"VEILFORM_THREADS must be a whole number from 1, not {wanted!r}")
    path = os.environ.get("VEILFORM_KERNELS", "").strip() or available()[-1]
    return _select(path, int(wanted) if wanted else cores or 1)


_selection = _initial()


def selected() -> Selection:
    """The path that the next call takes."""
    return _selection


def use(path: str) -> None:
    """Take another path from now on, in this process: for tests and measurements.

    Raises:
        ValueError: there is no such path, or this CPU cannot run it.
    """
    global _selection
    _selection = _select(path, _selection.threads)


def threads() -> int:
    """How many threads one call may use."""
    return _selection.threads


def set_threads(count: int) -> None:
    """Let each call use up to ``count`` threads. Results do not depend on it.

    Raises:
        ValueError: ``count`` is below 1.
    """
    global _selection
    if count < 1:
        raise ValueError(f"at least one thread is needed, not {count}")
    _selection = replace(_selection, threads=count)


def info() -> dict[str, object]:
    """The path in use, the paths available, the threads, and the CPU features that matter."""
    return {
        "path": _selection.path,
        "available": available(),
        "threads": _selection.threads,
        "dpf": "native" if _selection.dpf is not None else "reference",
        "cpu": dict(_native.cpu_features()) if _native is not None else {},
    }
