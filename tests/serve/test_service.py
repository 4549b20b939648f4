"""What bounds a service: parties, memory, time. And what it does when something is not foreseen."""

from __future__ import annotations

import errno
import sqlite3
import threading
import time
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace

import pytest
from tests.serve.deployment import Deployment, fresh, used

from veilform.correlation.ledger import LedgerFailed
from veilform.correlation.manifest import Manifest
from veilform.correlation.specs import Open, Preshare
from veilform.correlation.stockfile import Incoming
from veilform.errors import ConnectionFailed, InputError, ProtocolError, StockError, VeilformError
from veilform.masks import MaskRef
from veilform.models.bert.sides import Shape
from veilform.models.text import TokenBatch
from veilform.roles import CLIENT, SERVER, Role
from veilform.serve import dealer as dealer_module
from veilform.serve import messages as say
from veilform.serve.address import parse
from veilform.serve.service import Service
from veilform.transport import Channel
from veilform.transport.control import Control


def order(channel: Channel, manifest: Manifest) -> say.Dealt:
    channel.send_control(say.Order(say.PROTOCOL, manifest.encode()), limit=16 << 20)
    return channel.receive_control(say.Dealt)


def registration(channel: Channel, shapes: dict[str, tuple[int, ...]], weights: str) -> None:
    channel.send_control(say.Register(say.PROTOCOL, weights, shapes), limit=16 << 20)


def test_too_many_parties_of_one_role(
    deployment: Deployment, batch: TokenBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server reaches its dealer, however many clients there are."""
    monkeypatch.setattr("veilform.serve.service.MOST_CONNECTIONS", 2)
    with deployment.to_dealer(), deployment.to_dealer():
        full = pytest.raises(ProtocolError, match="too many are connected: 2 of a role")
        with deployment.to_dealer() as third, full:
            third.receive_control(say.Dealt)
        with deployment.to_dealer(SERVER) as server:
            server.send_control(say.Probe(say.PROTOCOL, "0" * 32))
            assert not server.receive_control(say.Probed).known


def test_too_many_connections_of_one_key(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One client does not take the places of all."""
    monkeypatch.setattr("veilform.serve.service.MOST_OF_KEY", 2)
    with deployment.to_dealer(), deployment.to_dealer():
        full = pytest.raises(ProtocolError, match="2 with one key; try again later")
        with deployment.to_dealer() as third, full:
            third.receive_control(say.Dealt)
        accepted, told = deployment.dealer_service._begin, SimpleQueue[bool]()

        def of_another(channel: Channel, role: Role) -> bool:
            channel.peer_key = "f" * 64
            told.put(begun := accepted(channel, role))
            return begun

        monkeypatch.setattr(deployment.dealer_service, "_begin", of_another)
        with deployment.to_dealer():
            assert told.get(timeout=5)


@pytest.mark.parametrize(
    "shapes",
    [
        {"w": (2**31, 2**31)},
        {f"w{i}": (2**15, 2**14) for i in range(3)},
        {"w": (2, 2, 2, 2)},
        {"w": (257, 1, 1)},
        {"w": ()},
        {"w": (0,)},
        {"w": (-1, 5)},
        {"w": (2**40,)},
        {"w" * 200: (1,)},
    ],
)
def test_hostile_registrations(deployment: Deployment, shapes: dict[str, tuple[int, ...]]) -> None:
    with deployment.to_dealer(SERVER) as channel:
        registration(channel, shapes, "0" * 32)
        with pytest.raises(ProtocolError, match=r"over the limit|no valid Register"):
            channel.receive_control(say.Registered)
    assert "0" * 32 not in deployment.dealer._weights


def test_only_so_many_sets_of_weights_are_kept(deployment: Deployment) -> None:
    with deployment.to_dealer(SERVER) as channel:
        count = dealer_module.MOST_WEIGHT_SETS + 2
        for n in range(count):
            registration(channel, {"w": (2, 3)}, f"{n:032x}")
            channel.send_bulk([bytes(48)], 48)
            channel.receive_control(say.Registered)
        assert len(deployment.dealer._weights) == dealer_module.MOST_WEIGHT_SETS
        assert list(deployment.dealer._weights)[-1] == f"{count - 1:032x}"


def manifest_of(*shape: int) -> Manifest:
    return Manifest("0" * 64, "", 1, 16, (Preshare("x", shape, 64),), (), ())


def test_a_manifest_without_weights_is_dealt(deployment: Deployment) -> None:
    with deployment.to_dealer() as channel:
        order(channel, manifest_of(2, 3))
        channel.send_control(say.Order(1, b""))
        with pytest.raises(ProtocolError, match="speaks protocol 1"):  # no segment came before
            channel.receive_control(say.Segment)


@pytest.mark.parametrize("shape", [(2**40,), (2**20, 2**20), (-1,), (0,), (1,) * 9])
def test_hostile_manifests(deployment: Deployment, shape: tuple[int, ...]) -> None:
    with deployment.to_dealer() as channel, pytest.raises(ProtocolError, match="the manifest"):
        order(channel, manifest_of(*shape))


def test_uncollected_stocks_are_bounded_and_thrown_away(
    deployment: Deployment, batch: TokenBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dealer_module, "MOST_PENDING", 3)
    for _ in range(2):
        with deployment.to_dealer() as channel:
            for _ in range(3):
                order(channel, manifest_of(2))
            with pytest.raises(ProtocolError, match="too many stocks wait for the server"):
                order(channel, manifest_of(2))
        assert len(deployment.dealer._pending) == 3
        monkeypatch.setattr(dealer_module, "PENDING_S", 0.0)
        deployment.dealer._drop_old()
        assert not deployment.dealer._pending
        monkeypatch.setattr(dealer_module, "PENDING_S", 900.0)
    assert deployment.dealer._in_work == 0
    monkeypatch.setattr(dealer_module, "MOST_HELD_BYTES", 1000)
    with deployment.client() as client, pytest.raises(ProtocolError, match="too many stocks wait"):
        client.prepare(Shape(*batch.ids.shape))


def test_masks_that_dealing_holds_have_their_room(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of this is dealt: two masks of 800 bytes, held at a time."""
    specs = (
        Preshare("x", (100,), 40),
        Open("y", (100,), 40, 40, (SERVER,), MaskRef("x")),
        Open("z", (100,), 40, 40, (SERVER,), MaskRef("y")),
    )
    manifest = Manifest("0" * 64, "", 1, 16, specs, (), ())
    assert manifest.offline_bytes == 0
    monkeypatch.setattr(dealer_module, "MOST_HELD_BYTES", 1600)
    with deployment.to_dealer() as channel:
        order(channel, manifest)
    monkeypatch.setattr(dealer_module, "MOST_HELD_BYTES", 1599)
    with deployment.to_dealer() as channel, pytest.raises(ProtocolError, match="too many stocks"):
        order(channel, manifest)


def test_the_servers_memory_is_bounded(
    deployment: Deployment, batch: TokenBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = Shape(*batch.ids.shape)
    for name, why in (
        ("veilform.serve.server.MOST_HELD_BYTES", "busy with other clients' stocks"),
        ("veilform.serve.messages.MOST_DEALT_BYTES", "so large a batch is too large"),
    ):
        with monkeypatch.context() as patch, deployment.client() as client:
            # The dealer counts eight bytes for every word, so its limit comes first.
            patch.setattr(Manifest, "check_size", lambda *_: None)
            patch.setattr(name, 1000)
            with pytest.raises(ProtocolError, match=why):
                client.prepare(shape)
    with deployment.client() as client:
        client.infer(batch)
    deadline = time.monotonic() + 5
    while deployment.server._held and time.monotonic() < deadline:
        time.sleep(0.01)
    assert deployment.server._held == 0


def test_the_dealer_is_not_held_up_by_a_client_that_does_not_read(
    deployment: Deployment, batch: TokenBatch
) -> None:
    with deployment.to_dealer() as lazy, deployment.client() as client:
        manifest = client.side.manifest(Shape(1, 16), client._weights)
        lazy.send_control(say.Order(say.PROTOCOL, manifest.encode()))
        client.infer(batch)


def test_an_unforeseen_error_tells_its_place_and_no_content(
    deployment: Deployment,
    batch: TokenBatch,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("the secret is 4711")

    with deployment.client() as client:
        monkeypatch.setattr(deployment.side, "program", fail)
        with pytest.raises(ProtocolError, match="its operator finds more in its log") as error:
            client.infer(batch)
        monkeypatch.undo()
    assert "ZeroDivisionError at test_service.py:" in caplog.text
    assert "4711" not in caplog.text + str(error.value)
    with deployment.client() as client:
        client.infer(batch)


def test_a_full_disk_at_the_server(
    deployment: Deployment,
    batch: TokenBatch,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    genuine = Incoming.seal

    def seal(stock: Incoming) -> None:
        if stock.role is SERVER:
            raise OSError(errno.ENOSPC, "No space left on device")
        genuine(stock)

    monkeypatch.setattr(Incoming, "seal", seal)
    refused = pytest.raises(ProtocolError, match="cannot keep stocks")
    with deployment.client() as client, refused as error:
        client.prepare(Shape(*batch.ids.shape))
    assert str(deployment.folder) not in str(error.value)
    assert "No space left on device; free some space" in caplog.text
    assert not fresh(deployment.server_folder)
    monkeypatch.undo()
    with deployment.client() as client:
        client.infer(batch)


def test_what_is_wrong_with_a_clients_disk_is_not_told_to_the_server(
    deployment: Deployment,
    batch: TokenBatch,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    genuine = Incoming.seal

    def seal(stock: Incoming) -> None:
        if stock.role is CLIENT:
            raise OSError(errno.ENOSPC, "No space left on device")
        genuine(stock)

    monkeypatch.setattr(Incoming, "seal", seal)
    refused = pytest.raises(StockError, match="No space left on device")
    with deployment.client() as client, refused:
        client.prepare(Shape(*batch.ids.shape))
    deadline = time.monotonic() + 10
    while "the client reports: it cannot keep stocks" not in caplog.text:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert str(deployment.client_folder) not in caplog.text


def test_a_stock_whose_client_was_not_told_is_burnt(
    deployment: Deployment, batch: TokenBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client's connection broke before the server could say `Stored`."""
    genuine, kept = Channel.send_control, []

    def send_control(channel: Channel, message: Control, **options: int) -> None:
        if isinstance(message, say.Stored):
            kept.extend(fresh(deployment.server_folder))
            raise ConnectionFailed("reset by peer")
        genuine(channel, message, **options)

    with monkeypatch.context() as patch, deployment.client() as client:
        patch.setattr(Channel, "send_control", send_control)
        with pytest.raises(VeilformError):
            client.prepare(Shape(*batch.ids.shape))
        assert not fresh(deployment.server_folder)
        assert not fresh(deployment.client_folder)
    assert {Path(name).stem for name in kept} == set(used(deployment.server_folder))
    with deployment.client() as client:
        client.infer(batch)


def test_a_client_interrupted_when_its_stock_came(
    deployment: Deployment, batch: TokenBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = Incoming.seal

    def interrupted(stock: Incoming) -> None:
        genuine(stock)
        if stock.role is CLIENT:
            raise KeyboardInterrupt

    with deployment.client() as client:
        monkeypatch.setattr(Incoming, "seal", interrupted)
        with pytest.raises(KeyboardInterrupt):
            client.prepare(Shape(*batch.ids.shape))
        assert not fresh(deployment.client_folder)


def test_a_stock_that_the_client_cannot_claim_is_burnt(
    deployment: Deployment, batch: TokenBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise LedgerFailed(sqlite3.OperationalError("disk I/O error"))

    with deployment.client() as client:
        client.prepare(Shape(*batch.ids.shape))
        monkeypatch.setattr(client._store._ledger, "claim", fail)
        with pytest.raises(StockError, match="cannot be marked used"):
            client.infer(batch)
        assert not fresh(deployment.client_folder)


def test_out_of_file_descriptors_does_not_spin(caplog: pytest.LogCaptureFixture) -> None:
    calls = []

    def accept(_: object) -> None:
        calls.append(time.monotonic())
        try:
            raise OSError(errno.EMFILE, "too many open files")
        except OSError as error:
            raise ConnectionFailed("cannot accept a connection") from error

    listener = SimpleNamespace(accept=accept, close=lambda: None, role=SERVER)
    service = Service(listener, (CLIENT,), lambda *_: None)  # type: ignore[arg-type]
    thread = threading.Thread(target=service.run)
    thread.start()
    time.sleep(0.3)
    service.stop()
    thread.join(3)
    assert not thread.is_alive()
    assert len(calls) <= 2


def test_closing_a_server_that_waits_for_its_dealer(deployment: Deployment) -> None:
    """Who waits is woken; the closing thread does not wait."""

    def wait() -> None:
        with pytest.raises(VeilformError):
            deployment.server._dealers.ask(lambda dealer: dealer.receive_control(say.Dealt))

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(0.1)
    start = time.monotonic()
    deployment.server.close()
    waiting.join(3)
    assert not waiting.is_alive()
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("text", ["", "host", "host:", ":7001", "host:port", "host:99999", "h:²"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(InputError, match="is no host:port"):
        parse(text)


def test_addresses() -> None:
    assert parse("127.0.0.1:7001") == ("127.0.0.1", 7001)
    assert parse("[::1]:0") == ("::1", 0)
