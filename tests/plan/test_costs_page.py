"""docs/costs.md says what the shipped student costs now."""

from __future__ import annotations

from tests.scripts import ROOT, load

import veilform


def test_the_page_is_what_the_trace_says() -> None:
    costs = load("costs")
    written = (ROOT / "docs" / "costs.md").read_text(encoding="utf-8")
    assert written == costs.page(veilform.DEFAULT_MODEL), "stale: run python bench/costs.py"
