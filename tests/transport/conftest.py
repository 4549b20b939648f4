"""Pairs of channels over each kind of stream, and a check that no thread outlives its test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from veilform.roles import CLIENT, SERVER, Role
from veilform.transport import (
    Channel,
    Identity,
    Listener,
    Settings,
    channel_pair,
    connect,
    create_deployment,
)

QUICK = Settings(timeout_s=10.0, close_timeout_s=2.0)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("veilform-"):
            thread.join(2.0)
            assert not thread.is_alive(), f"{thread.name} outlives its channel"


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("certificates") / "deployment"
    create_deployment(directory)
    return directory


@pytest.fixture(scope="session")
def identities(deployment: Path) -> dict[Role, Identity]:
    return {role: Identity.load(deployment, role) for role in Role}


@pytest.fixture
def in_background() -> Iterator[Callable[..., Future[Any]]]:
    """Run a call beside the test; ``.result(timeout)`` gives its value or raises its error."""
    with ThreadPoolExecutor(8, thread_name_prefix="test") as pool:
        yield pool.submit


@pytest.fixture
def tls_pair(
    identities: dict[Role, Identity], in_background: Callable[..., Future[Any]]
) -> Iterator[tuple[Channel, Channel]]:
    with Listener("127.0.0.1", 0, identities[SERVER], settings=QUICK) as listener:
        coming = in_background(listener.accept, {CLIENT}, 10.0)
        client = connect("127.0.0.1", listener.port, identities[CLIENT], SERVER, settings=QUICK)
        server, role = coming.result(10)
        assert role is CLIENT
        yield client, server
        client.close()
        server.close()


@pytest.fixture
def loopback_pair() -> Iterator[tuple[Channel, Channel]]:
    client, server = channel_pair(CLIENT, SERVER, QUICK)
    yield client, server
    client.close()
    server.close()


@pytest.fixture(params=["loopback", "tls"])
def pair(request: pytest.FixtureRequest) -> tuple[Channel, Channel]:
    """What the client holds and what the server holds of one connection."""
    channels: tuple[Channel, Channel] = request.getfixturevalue(f"{request.param}_pair")
    return channels
