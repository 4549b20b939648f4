"""docs/benchmarks.md holds what bench/results says."""

from __future__ import annotations

from tests.scripts import ROOT, load


def test_the_page_is_what_its_script_writes() -> None:
    page = load("page")
    written = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert written == page.filled(written), "stale: run python bench/page.py"
    assert all(f"<!-- table {name} -->" in written for name in page.TABLES)
