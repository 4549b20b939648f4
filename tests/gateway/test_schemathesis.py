"""The API does what its description says, over generated requests; schemathesis from outside."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.gateway.running import Gateway

BESIDE = Path(sys.executable).with_name("schemathesis")
PROGRAM = os.environ.get("SCHEMATHESIS") or (
    str(BESIDE) if BESIDE.is_file() else shutil.which("schemathesis")
)


@pytest.mark.skipif(PROGRAM is None, reason="schemathesis is not installed")
@pytest.mark.timeout(600)
def test_requests_made_from_the_description(gateway: Gateway, tmp_path: Path) -> None:
    command = [PROGRAM, "run", f"{gateway.url}/openapi.json", "--seed", "1", "--no-color"]
    command += ["--max-examples", "15", "--generation-database", "none"]
    # A text of the right form may still have too many tokens, or none.
    command += ["--exclude-checks", "positive_data_acceptance"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
