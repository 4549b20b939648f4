from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.serve.deployment import Deployment

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from tests.gateway.running import Gateway

from veilform.gateway.served import Catalogue, Served
from veilform.gateway.sessions import ClientSession
from veilform.models.bert.sides import ClientSide, ServerSide
from veilform.roles import Role
from veilform.serve.pool import Pool
from veilform.transport import Identity


@pytest.fixture(scope="package")
def deployed(
    tiny_side: ServerSide,
    tiny_public: Path,
    party_identities: dict[Role, Identity],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Deployment]:
    running = Deployment(
        tiny_side, tiny_public, party_identities, tmp_path_factory.mktemp("deployed")
    )
    yield running
    running.close()


@pytest.fixture(scope="package")
def catalogue(deployed: Deployment) -> Iterator[Catalogue]:
    """One model, version 1, with one session."""
    side = ClientSide(deployed.public)
    pool = Pool(lambda: ClientSession(deployed.client()), side.public.encoder.pad, sessions=1)
    found = Catalogue([Served("tiny", "1", side, pool)])
    deadline = time.monotonic() + 10
    while not found.all[0].ready:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    yield found
    found.close()


@pytest.fixture(scope="package")
def gateway(catalogue: Catalogue) -> Iterator[Gateway]:
    running = Gateway(catalogue)
    yield running
    running.close()
