"""Where the published runtimes are: a test that needs them is skipped without."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def runtimes() -> Path:
    """The folder runtimes/ of $VEILFORM_SHARED_DATA, else of ../shared/data beside the checkout."""
    given = os.environ.get("VEILFORM_SHARED_DATA")
    folder = (Path(given) if given else ROOT.parent / "shared" / "data") / "runtimes"
    if not folder.is_dir():
        pytest.skip("no shared data: set VEILFORM_SHARED_DATA to its folder")
    return folder
