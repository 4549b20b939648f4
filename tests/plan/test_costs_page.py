"""docs/costs.md says what the shipped student costs now."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import veilform

ROOT = Path(__file__).parents[2]


def test_the_page_is_what_the_trace_says() -> None:
    spec = importlib.util.spec_from_file_location("costs", ROOT / "bench" / "costs.py")
    assert spec is not None
    assert spec.loader is not None
    costs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(costs)
    written = (ROOT / "docs" / "costs.md").read_text(encoding="utf-8")
    assert written == costs.page(veilform.DEFAULT_MODEL), "stale: run python bench/costs.py"
