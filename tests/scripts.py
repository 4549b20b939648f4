"""The scripts of bench/, which are no package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


def shared(part: str) -> Path:
    """A folder of data that is not the project's own; skips the test where there is none."""
    found = load("shared")
    folder = found.shared_data(part)
    if not folder.is_dir():
        pytest.skip(f"no shared data: set {found.VARIABLE} to the folder that {part}/ is in")
    return folder


def load(name: str) -> ModuleType:
    """bench/NAME.py as a module, which imports what is beside it."""
    if str(ROOT / "bench") not in sys.path:
        sys.path.insert(0, str(ROOT / "bench"))
    spec = importlib.util.spec_from_file_location(name, ROOT / "bench" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
