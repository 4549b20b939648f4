from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.serve.deployment import Deployment

from veilform.models.bert.sides import ServerSide
from veilform.models.text import TextEncoder, TokenBatch
from veilform.roles import Role
from veilform.transport import Identity


@pytest.fixture
def deployment(
    tiny_side: ServerSide, tiny_public: Path, party_identities: dict[Role, Identity], tmp_path: Path
) -> Iterator[Deployment]:
    before = set(threading.enumerate())
    running = Deployment(tiny_side, tiny_public, party_identities, tmp_path)
    yield running
    running.close()
    deadline = time.monotonic() + 5
    ours = ("serve", "veil")
    while left := [
        t.name for t in threading.enumerate() if t not in before and t.name.startswith(ours)
    ]:
        assert time.monotonic() < deadline, f"threads are left: {left}"
        time.sleep(0.01)


@pytest.fixture(scope="session")
def batch(tiny_public: Path) -> TokenBatch:
    encoder = TextEncoder.from_folder(tiny_public)
    return encoder.pad(encoder.encode(["the film was not good"]))
