"""What keeps a gateway from its server is nobody's wrong input."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

pytest.importorskip("starlette")

from veilform.errors import AuthenticationError
from veilform.gateway.opening import identity_now
from veilform.gateway.problems import problem_of
from veilform.transport import create_deployment


@pytest.mark.parametrize(
    ("days", "said"), [(-10, "expired on"), (10, "check this machine's clock")]
)
def test_a_clock_that_is_wrong_makes_no_bad_input(tmp_path: Path, days: int, said: str) -> None:
    """Its own certificate is what the gateway cannot use; the text that waits is fine."""
    now = dt.datetime.now(dt.timezone.utc)
    create_deployment(tmp_path / "keys", days=5, start=now + dt.timedelta(days=days))
    with pytest.raises(AuthenticationError, match=said) as failed:
        identity_now(tmp_path / "keys")
    assert problem_of(failed.value).code == "unreachable"
