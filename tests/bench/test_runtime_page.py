"""docs/runtime.md is what bench/runtime.py would write."""

from __future__ import annotations

import pytest
from tests.scripts import ROOT, load


def test_the_page_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    page = load("runtime")
    written = page.PAGE.read_text(encoding="utf-8")
    assert written == page.filled(written), "stale: run python bench/runtime.py --page"
    assert "Not measured yet" not in written
