"""Pages hold what bench/results says."""

from __future__ import annotations

from tests.scripts import load


def test_the_pages_are_what_their_script_writes() -> None:
    page = load("page")
    pages = [path.read_text(encoding="utf-8") for path in page.PAGES]
    for written in pages:
        assert written == page.filled(written), "stale: run python bench/page.py"
    assert all(f"<!-- table {name} -->" in "".join(pages) for name in page.TABLES)
