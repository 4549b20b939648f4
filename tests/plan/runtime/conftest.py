"""Where the published runtimes are: a test that needs them is skipped without."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.scripts import shared


@pytest.fixture(scope="session")
def runtimes() -> Path:
    """The published timings and fits."""
    return shared("runtimes")
