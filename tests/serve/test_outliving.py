"""Stocks that outlive connections and processes: who may use them, and what each side burns."""

from __future__ import annotations

import logging
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.serve.deployment import QUICK, Deployment, fresh, of_state, used

from veilform.correlation.store import StockStore, new_id
from veilform.errors import InputError, ProtocolError, StockError, StockLow, VeilformError
from veilform.models.bert.sides import ClientSide, ServerSide, Shape, publish
from veilform.models.text import TokenBatch
from veilform.roles import CLIENT, SERVER
from veilform.serve import depot as depot_module
from veilform.serve import masking
from veilform.serve import messages as say
from veilform.serve.client import Client
from veilform.serve.depot import Depot
from veilform.serve.held import receive_held, send_held
from veilform.serve.masking import kept_in
from veilform.transport import Channel, stream_pair


@pytest.fixture
def shape(batch: TokenBatch) -> Shape:
    return Shape(*batch.ids.shape)


def stocks(deployment: Deployment) -> tuple[list[str], list[str]]:
    """What client and server could claim."""
    folders = deployment.client_folder, deployment.server_folder
    return of_state(folders[0], "fresh"), of_state(folders[1], "fresh")


def test_a_stock_outlives_its_connection_and_both_processes(
    deployment: Deployment, batch: TokenBatch, shape: Shape
) -> None:
    with deployment.client() as client:
        expected, _ = client.infer(batch)
        for _ in range(3):
            client.prepare(shape)
    for restart in (lambda: None, deployment.restart_server, deployment.restart_dealer):
        restart()
        with deployment.client() as client:
            left = client.ready(shape)
            logits, cost = client.infer(batch)
            assert client.ready(shape) == left - 1
            np.testing.assert_allclose(logits, expected, atol=1e-2)
            assert cost.offline_seconds > 0  # of its making, then
    assert left == 1
    assert stocks(deployment) == ([], [])
    assert len(used(deployment.server_folder)) == 4
    assert sorted(used(deployment.server_folder)) == sorted(used(deployment.client_folder))


def test_a_request_needs_no_dealer_when_stock_is_there(
    deployment: Deployment, batch: TokenBatch, shape: Shape
) -> None:
    with deployment.client() as client:
        client.prepare(shape)
        deployment.dealer_service.stop()
        client.infer(batch)
        with pytest.raises(VeilformError):
            client.infer(batch)


@pytest.mark.parametrize("who", ["client", "server"])
def test_what_one_side_lost_the_other_burns(
    deployment: Deployment, batch: TokenBatch, shape: Shape, who: str
) -> None:
    with deployment.client() as client:
        for _ in range(3):
            client.prepare(shape)
    role = CLIENT if who == "client" else SERVER
    folder = deployment.client_folder if who == "client" else deployment.server_folder
    lost = of_state(folder, "fresh")[1]
    with StockStore(folder, role) as store:
        found = store._ledger.find(lost)
        assert found is not None
        store.discard(lost, found[0].peer)
    assert any(lost in each for each in stocks(deployment))
    with deployment.client() as client:
        assert client.ready(shape) == 2
        ours, theirs = stocks(deployment)
        assert ours == theirs
        assert len(ours) == 2
        client.infer(batch)


def test_another_folder_of_the_same_client_has_its_own(
    deployment: Deployment, batch: TokenBatch, shape: Shape
) -> None:
    with deployment.client() as client:
        client.prepare(shape)
    deployment.client_folder, first = deployment.folder / "other", deployment.client_folder
    with deployment.client() as other:
        assert other.ready(shape) == 0
        other.infer(batch)
    assert of_state(deployment.server_folder, "fresh") == of_state(first, "fresh")
    deployment.client_folder = first
    with deployment.client() as client:
        assert client.ready(shape) == 1
        client.infer(batch)


def test_another_key_with_the_same_folders_id(
    deployment: Deployment, batch: TokenBatch, shape: Shape, tmp_path: Path
) -> None:
    """A thief who learnt the folder's id and all stocks' names: they are not found by its key."""
    with deployment.client() as client:
        client.prepare(shape)
        stock, store_id = of_state(deployment.client_folder, "fresh")[0], client._store.id
        manifest = client.side.manifest(shape, client._weights).digest
    genuine = deployment.server.serve

    def as_another(channel, role):  # type: ignore[no-untyped-def]
        channel.peer_key = "f" * 64
        genuine(channel, role)

    deployment.server_service._serve = as_another
    with deployment.to_server() as thief:
        thief.send_control(say.Hello(say.PROTOCOL, deployment.side.model, store_id))
        thief.receive_control(say.Welcome)
        send_held(thief, [])
        assert receive_held(thief) == set()
        begin = say.Begin(say.PROTOCOL, deployment.side.model, manifest, stock, 0)
        thief.send_control(begin)
        with pytest.raises(ProtocolError, match="was not offered by this client"):
            thief.receive_control(say.Begun)
    deployment.server_service._serve = genuine
    with deployment.client() as client:
        assert client.ready(shape) == 1
        client.infer(batch)


def test_the_key_is_that_of_the_certificate(tmp_path: Path, deployment: Deployment) -> None:
    """Two connections of one client have one key, which no message can change."""
    keys = []
    genuine = deployment.server.serve

    def noting(channel, role):  # type: ignore[no-untyped-def]
        keys.append(channel.peer_key)
        genuine(channel, role)

    deployment.server_service._serve = noting
    with deployment.client(), deployment.client():
        pass
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert len(keys[0]) == 64


def test_sessions_that_connect_while_others_prepare_burn_nothing(
    deployment: Deployment, shape: Shape
) -> None:
    def connect() -> None:
        while not ended.is_set():
            deployment.client().close()

    ended = threading.Event()
    with deployment.client() as client:
        connecting = threading.Thread(target=connect)
        connecting.start()
        for _ in range(12):
            client.prepare(shape)
        ended.set()
        connecting.join(10)
        assert client.ready(shape) == 12
    ours, theirs = stocks(deployment)
    assert sorted(ours) == sorted(theirs)


def sessions(deployment: Deployment) -> Callable[[], Client]:
    """Opens clients that share one store, as those of one process do."""
    store = StockStore(deployment.client_folder, CLIENT)
    side = ClientSide(deployment.public)
    return lambda: Client(side, store, deployment.to_server, deployment.to_dealer)


def test_sessions_of_one_store_run_beside_each_other(
    deployment: Deployment, batch: TokenBatch, shape: Shape
) -> None:
    session, answers = sessions(deployment), []
    with session() as maker:
        for _ in range(6):
            maker.prepare(shape)

        def run() -> None:
            with session() as client:
                for _ in range(2):
                    answers.append(client.infer(batch)[0])

        threads = [threading.Thread(target=run) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(answers) == 6
    assert len(of_state(deployment.client_folder, "used")) == 6
    assert of_state(deployment.client_folder, "burnt") == []
    assert stocks(deployment) == ([], [])


def test_an_input_that_cannot_be_used_leaves_the_stock(
    deployment: Deployment, batch: TokenBatch, shape: Shape
) -> None:
    with deployment.client() as client:
        client.prepare(shape)
        taken = client.take(shape)
        assert client.ready(shape) == 0
        with pytest.raises(InputError, match="outside the model"):
            client.infer(replace_ids(batch, 10**6), stock=taken)
        assert client.ready(shape) == 1


def replace_ids(batch: TokenBatch, number: int) -> TokenBatch:
    ids = np.full_like(batch.ids, number)
    return batch._replace(ids=ids) if hasattr(batch, "_replace") else replace(batch, ids=ids)


def test_masked_weights_are_kept_for_one_model_and_one_content(
    tiny_side: ServerSide, other_tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = kept_in(tmp_path)(tiny_side)
    assert kept_in(tmp_path)(tiny_side) == first
    other = kept_in(tmp_path)(ServerSide(other_tiny))
    assert len({first, other}) == 2
    assert first[1] != other[1]
    for path in (tmp_path / "weights").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "weights").stat().st_mode) == 0o700
    # The same checkpoint, encoded otherwise by another release.
    monkeypatch.setattr(tiny_side, "content", "0" * 64)
    changed = kept_in(tmp_path)(tiny_side)
    assert changed[0] not in (first[0], other[0])
    assert changed[1] not in (first[1], other[1])


def test_damaged_masked_weights_are_drawn_anew(
    tiny_side: ServerSide, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = kept_in(tmp_path)(tiny_side)
    (path,) = (tmp_path / "weights").iterdir()
    content = path.read_bytes()
    for at in range(0, len(content), 11):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert kept_in(tmp_path)(tiny_side) != first
        assert "is damaged" in caplog.text
    assert first[1].hex() not in caplog.text
    record = masking.Record("m", "c", *first)
    assert first[1].hex() not in repr(record) + str(record.__rich_repr__())


def test_the_content_is_that_of_the_weights(tiny_side: ServerSide, tiny: Path) -> None:
    assert ServerSide(tiny).content == tiny_side.content
    assert ServerSide(tiny, private_embedding=True).content != tiny_side.content


def test_a_server_that_offers_another_model_burns_the_old_ones_stocks(
    deployment: Deployment, other_tiny: Path, shape: Shape, batch: TokenBatch, tmp_path: Path
) -> None:
    with deployment.client() as client:
        client.prepare(shape)
    other = ServerSide(other_tiny)
    publish(other, tmp_path / "public")
    deployment.restart_server(other)
    assert not fresh(deployment.server_folder)
    with deployment.client(tmp_path / "public") as client:
        client.infer(batch)
    assert stocks(deployment) == ([], [])


def test_lists_of_any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(say, "MOST_HELD", 3)
    monkeypatch.setattr(say, "MOST_HELD_RECORDS", 4)
    near, far = stream_pair()
    ours, theirs = Channel(near, SERVER, QUICK), Channel(far, CLIENT, QUICK)
    for count in (0, 1, 2, 3, 4, 6, 12):
        names = [new_id() for _ in range(count)]
        send_held(ours, names)
        assert receive_held(theirs) == set(names)
    for _ in range(4):
        ours.send_control(say.Held((), last=False))
    with pytest.raises(ProtocolError, match="does not end"):
        receive_held(theirs)
    ours.close()
    theirs.close()


def soon(condition) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_depot_keeps_its_levels(deployment: Deployment, batch: TokenBatch, shape: Shape) -> None:
    """Its stores and those of the sessions may be one or many."""
    other, session = Shape(2, shape.length), sessions(deployment)
    with Depot(session, {shape: 2, other: 1}) as depot, deployment.client() as client:
        soon(lambda: all(level.ready == level.wanted for level in depot.status.levels.values()))
        assert depot.status.levels == {shape: (2, 2), other: (1, 1)}
        assert not depot.status.failing
        for _ in range(3):
            taken = depot.take(shape, time.monotonic() + 10)
            client.infer(batch, stock=taken)
        soon(lambda: depot.status.levels[shape].ready == 2)
        given = depot.take(shape, time.monotonic())
        depot.release(given)
        assert depot.take(Shape(3, shape.length), time.monotonic() + 10).manifest.batch == 3
        with pytest.raises(VeilformError, match="no padded length"):
            depot.take(Shape(1, 17), time.monotonic() + 10)
        soon(lambda: depot.status.levels[shape].ready >= 2 and not depot.status.making)


def test_a_depot_whose_dealer_is_gone(
    deployment: Deployment,
    shape: Shape,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(depot_module, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(depot_module, "LONGEST_PAUSE_S", 0.1)
    caplog.set_level(logging.INFO)
    with Depot(deployment.client, {shape: 1}) as depot:
        soon(lambda: depot.status.levels[shape].ready == 1)
        with monkeypatch.context() as patch:
            patch.setattr(Client, "prepare", refused)
            depot.take(shape, time.monotonic() + 1)  # what is there is given
            soon(lambda: depot.status.failing)
            with pytest.raises(StockLow, match="no stock is ready: the disk is full") as low:
                depot.take(shape, time.monotonic() + 0.5)
            assert 0 < low.value.retry_s <= 0.2
        soon(lambda: depot.status.levels[shape].ready == 1 and not depot.status.failing)
    told = [r.getMessage() for r in caplog.records if "no stocks can be made" in r.getMessage()]
    assert len(told) == 1
    with pytest.raises(StockLow, match="closed"):
        depot.take(shape, time.monotonic())


def refused(*_: object) -> float:
    raise StockError("the disk is full")


def test_a_depot_without_a_server(deployment: Deployment, shape: Shape) -> None:
    deployment.server_service.stop()
    with Depot(deployment.client, {shape: 1}) as depot:
        with pytest.raises(StockLow, match="no stock is ready"):
            depot.take(shape, time.monotonic() + 0.3)
        assert "cannot reach the server" in depot.status.failing


def test_a_depot_is_closed_in_the_middle_of_a_dealing(deployment: Deployment, shape: Shape) -> None:
    depot = Depot(deployment.client, {shape: 60})
    soon(lambda: depot.status.levels[shape].ready >= 2)
    depot.close()
    depot.close()
    assert depot.status.making is None
    with deployment.client():  # and nobody is left with half a stock
        ours, theirs = stocks(deployment)
        assert sorted(ours) == sorted(theirs)
