"""Where data lies that is not the project's own."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "VEILFORM_SHARED_DATA"
ROOT = Path(__file__).parents[1]


def shared_data(part: str) -> Path:
    """A folder of $VEILFORM_SHARED_DATA or, without that, of ../shared/data beside the checkout."""
    given = os.environ.get(VARIABLE)
    return (Path(given) if given else ROOT.parent / "shared" / "data") / part
