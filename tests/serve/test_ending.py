"""How a service ends, is exchanged under its clients, and keeps them waiting."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tests.serve.deployment import Deployment, fresh

from veilform.errors import (
    ConnectionFailed,
    InputError,
    Overloaded,
    ProtocolError,
    VeilformError,
)
from veilform.models.bert.secure import SecureBert
from veilform.models.bert.sides import ServerSide, Shape, publish
from veilform.models.text import TokenBatch
from veilform.serve.served import Models
from veilform.serve.turns import Turns


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once the server is in the middle of a run, which takes half a second."""
    begun, genuine = threading.Event(), SecureBert.server

    def server(self: SecureBert, weights: object):  # type: ignore[no-untyped-def]
        begun.set()
        time.sleep(0.5)
        return genuine(self, weights)  # type: ignore[arg-type]

    monkeypatch.setattr(SecureBert, "server", server)
    return begun


def beside(work) -> threading.Thread:  # type: ignore[no-untyped-def]
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_run_in_work_ends_with_an_answer(
    deployment: Deployment, batch: TokenBatch, slow: threading.Event
) -> None:
    answers: list[np.ndarray] = []
    with deployment.client() as client, deployment.client() as idle:
        client.prepare(Shape(*batch.ids.shape))
        thread = beside(lambda: answers.append(client.infer(batch)[0]))
        assert slow.wait(10)
        deployment.server_service.stop(patience_s=20)
        thread.join(10)
        assert len(answers) == 1
        for other in (client, idle):
            with pytest.raises(VeilformError):
                other.prepare(Shape(*batch.ids.shape))
    with pytest.raises(ConnectionFailed):
        deployment.to_server()


def test_patience_with_a_run_ends(
    deployment: Deployment, batch: TokenBatch, slow: threading.Event
) -> None:
    failed: list[Exception] = []

    def run() -> None:
        try:
            client.infer(batch)
        except VeilformError as error:
            failed.append(error)

    with deployment.client() as client:
        client.prepare(Shape(*batch.ids.shape))
        thread = beside(run)
        assert slow.wait(10)
        deployment.server_service.stop(patience_s=0.05)
        thread.join(10)
    assert isinstance(failed[0], ConnectionFailed)


def test_a_busy_server_leaves_the_stock_as_it_is(
    deployment: Deployment, batch: TokenBatch, slow: threading.Event
) -> None:
    deployment.server._turns = Turns(1, 1)
    shape = Shape(*batch.ids.shape)
    with deployment.client() as first, deployment.client() as second:
        first.prepare(shape)
        second.prepare(shape)
        thread = beside(lambda: first.infer(batch))
        assert slow.wait(10)
        with pytest.raises(Overloaded, match="the server is busy: no turn within"):
            second.infer(batch, patience_s=0.01)
        thread.join(10)
        assert second.ready(shape) == 1
        second.infer(batch)
        assert second.ready(shape) == 0
    assert not fresh(deployment.server_folder)


def test_models_are_exchanged_under_their_clients(
    deployment: Deployment, other_tiny: Path, batch: TokenBatch, tmp_path: Path
) -> None:
    other = ServerSide(other_tiny)
    publish(other, tmp_path / "public")
    side = deployment.side
    with deployment.client() as before:
        deployment.server.offer([side, other])
        with deployment.client(tmp_path / "public") as client:
            client.infer(batch)
        with deployment.client() as same:
            assert same._weights == before._weights
        deployment.server.offer([other])
        before.infer(batch)
        with pytest.raises(ProtocolError, match="not one that is served here"):
            deployment.client()


def test_a_model_given_twice(deployment: Deployment) -> None:
    with pytest.raises(InputError, match="give each model once"):
        Models([deployment.side, deployment.side])
    with pytest.raises(InputError, match="give each model once"):
        deployment.server.offer([deployment.side, deployment.side])
    assert deployment.side
