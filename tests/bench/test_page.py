"""docs/benchmarks.md holds what bench/results says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_is_what_its_script_writes() -> None:
    spec = importlib.util.spec_from_file_location("page", ROOT / "bench" / "page.py")
    assert spec is not None
    assert spec.loader is not None
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    written = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert written == page.filled(written), "stale: run python bench/page.py"
    assert all(f"<!-- table {name} -->" in written for name in page.TABLES)
