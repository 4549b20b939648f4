"""What does not belong together is told at both ends, burns its stock, and harms no one else."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.serve.deployment import Deployment, fresh, used

from veilform import prg
from veilform.correlation.store import new_id
from veilform.errors import ConnectionFailed, ProtocolError
from veilform.models.bert.sides import ClientSide, ServerSide, Shape, publish
from veilform.models.text import TokenBatch
from veilform.serve import messages as say
from veilform.serve.client import Client
from veilform.transport import Channel, PeerLeft

OTHER_DIGEST = "0" * 64


def one_line(error: BaseException) -> str:
    text = str(error)
    assert text
    assert "\n" not in text
    return text


def told(caplog: pytest.LogCaptureFixture) -> str:
    """What the service logged first of the one connection that failed.

    The other end may have hung up by the time it is told, which is a second line.
    """
    deadline = time.monotonic() + 5
    while not (lines := [r.getMessage() for r in caplog.records if "ended:" in r.getMessage()]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    line = lines[0]
    assert "\n" not in line
    return line


def serves_others(deployment: Deployment, batch: TokenBatch) -> None:
    with deployment.client() as client:
        logits, _ = client.infer(batch)
        assert np.all(np.isfinite(logits))


def greeted(deployment: Deployment, protocol: int = say.PROTOCOL, model: str = "") -> Channel:
    channel = deployment.to_server()
    channel.send_control(say.Hello(protocol, model or deployment.side.model, new_id()))
    return channel


def test_another_protocol_version(
    deployment: Deployment, batch: TokenBatch, caplog: pytest.LogCaptureFixture
) -> None:
    with greeted(deployment, protocol=1) as channel:
        with pytest.raises(ProtocolError) as error:
            channel.receive_control(say.Welcome)
        assert f"protocol 1, the server {say.PROTOCOL}; install the same release" in one_line(
            error.value
        )
    assert "speaks protocol 1" in told(caplog)
    serves_others(deployment, batch)


def test_another_protocol_version_at_the_dealer(deployment: Deployment) -> None:
    with deployment.to_dealer() as channel:
        channel.send_control(say.Order(1, b""))
        with pytest.raises(ProtocolError, match=f"speaks protocol 1, this program {say.PROTOCOL}"):
            channel.receive_control(say.Dealt)


def test_a_folder_exported_from_another_model(
    deployment: Deployment,
    other_tiny: Path,
    batch: TokenBatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    publish(ServerSide(other_tiny), tmp_path / "public")
    with pytest.raises(ProtocolError) as error:
        deployment.client(tmp_path / "public")
    assert "model is not one that is served here" in one_line(error.value)
    assert "model is not one that is served here" in told(caplog)
    serves_others(deployment, batch)


def test_other_scales_of_the_same_model(
    deployment: Deployment, batch: TokenBatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    public = tmp_path / "public"
    shutil.copytree(deployment.public, public)
    content = json.loads((public / "scales.json").read_text())
    content["lengths"][0]["layers"][0]["attention_norm"]["epsilon"] += 1
    (public / "scales.json").write_text(json.dumps(content))
    with deployment.client(public) as client, pytest.raises(ProtocolError) as error:
        client.infer(batch)
    assert "derive different manifests" in one_line(error.value)
    assert "derive different manifests" in told(caplog)
    assert not fresh(deployment.client_folder)
    assert not fresh(deployment.server_folder)
    serves_others(deployment, batch)


def test_a_stock_that_the_dealer_does_not_have(
    deployment: Deployment, batch: TokenBatch, caplog: pytest.LogCaptureFixture
) -> None:
    side = ClientSide(deployment.public)
    with greeted(deployment) as channel:
        welcome = channel.receive_control(say.Welcome)
        manifest = side.manifest(Shape(1, 16), welcome.weights)
        channel.send_control(say.Offer(new_id(), manifest.digest, 1, 16))
        channel.send_bulk([bytes(manifest.correction_bytes)], manifest.correction_bytes)
        with pytest.raises(ProtocolError) as error:
            channel.receive_control(say.Stored)
        assert "the dealer has no such stock" in one_line(error.value)
    assert "the dealer has no such stock" in told(caplog)
    serves_others(deployment, batch)


@pytest.mark.parametrize("batch_size", [2, 65])
def test_a_stock_offered_for_another_shape(
    deployment: Deployment, batch: TokenBatch, batch_size: int
) -> None:
    side = ClientSide(deployment.public)
    with greeted(deployment) as channel, deployment.to_dealer() as dealer:
        welcome = channel.receive_control(say.Welcome)
        manifest = side.manifest(Shape(1, 16), welcome.weights)
        dealer.send_control(say.Order(say.PROTOCOL, manifest.encode()))
        dealt = dealer.receive_control(say.Dealt)
        other = side.manifest(Shape(2, 16), welcome.weights)
        channel.send_control(say.Offer(dealt.stock, other.digest, batch_size, 16))
        channel.send_bulk([bytes(other.correction_bytes)], other.correction_bytes)
        with pytest.raises(ProtocolError, match=r"for another manifest|over the limit of 64"):
            channel.receive_control(say.Stored)
    assert not fresh(deployment.server_folder)
    serves_others(deployment, batch)


def prepared(deployment: Deployment, batch: TokenBatch) -> tuple[Client, Channel, str, str]:
    """A client with one stock ready, its channel to the server, the stock and its manifest."""
    client = deployment.client()
    client.prepare(Shape(*batch.ids.shape))
    one = client.take(Shape(*batch.ids.shape))
    assert one is not None
    client.release(one)
    return client, client._server, one.stock, one.manifest.digest


Change = Callable[[say.Begin], say.Begin]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda b: say.Begin(1, b.model, b.manifest, b.stock, 0), "speaks protocol 1"),
        (
            lambda b: say.Begin(say.PROTOCOL, OTHER_DIGEST, b.manifest, b.stock, 0),
            "for another model",
        ),
        (
            lambda b: say.Begin(say.PROTOCOL, b.model, OTHER_DIGEST, b.stock, 0),
            "derive different manifests",
        ),
    ],
)
def test_a_begin_that_does_not_match_its_offer(
    deployment: Deployment,
    batch: TokenBatch,
    change: Change,
    why: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client, channel, stock, manifest = prepared(deployment, batch)
    with client:
        model = deployment.side.model
        channel.send_control(change(say.Begin(say.PROTOCOL, model, manifest, stock, 0)))
        with pytest.raises(ProtocolError, match=why) as error:
            channel.receive_control(say.Begun)
        one_line(error.value)
    assert why in told(caplog)
    assert stock in used(deployment.server_folder)
    assert not fresh(deployment.server_folder)
    serves_others(deployment, batch)
    assert not fresh(deployment.client_folder)  # as it learnt when it connected


def test_a_stock_offered_on_another_connection(deployment: Deployment, batch: TokenBatch) -> None:
    """Whoever learns a stock's name can neither use nor burn it."""
    client, _, stock, manifest = prepared(deployment, batch)
    begin = say.Begin(say.PROTOCOL, deployment.side.model, manifest, stock, 0)
    with client:
        with greeted(deployment) as thief:
            thief.receive_control(say.Welcome)
            thief.send_control(begin)
            with pytest.raises(ProtocolError, match="was not offered by this client"):
                thief.receive_control(say.Begun)
        client.infer(batch)
    assert used(deployment.server_folder) == [stock]


def test_a_stock_begun_twice(deployment: Deployment, batch: TokenBatch) -> None:
    client, channel, stock, manifest = prepared(deployment, batch)
    with client:
        client.infer(batch)
        model = deployment.side.model
        channel.send_control(say.Begin(say.PROTOCOL, model, manifest, stock, 0))
        with pytest.raises(ProtocolError, match="was used already"):
            channel.receive_control(say.Begun)


def test_a_stock_offered_twice(deployment: Deployment, batch: TokenBatch) -> None:
    """A second copy with other corrections would mean one mask for two values."""
    client, channel, stock, manifest = prepared(deployment, batch)
    size = client.side.manifest(Shape(*batch.ids.shape), client._weights).correction_bytes
    with client:
        channel.send_control(say.Offer(stock, manifest, *batch.ids.shape))
        channel.send_bulk([bytes(size)], size)
        with pytest.raises(ProtocolError, match="the dealer has no such stock"):
            channel.receive_control(say.Stored)


def test_a_client_may_not_fill_the_servers_disk(
    deployment: Deployment, batch: TokenBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("veilform.serve.server.MOST_OFFERED", 2)
    shape = Shape(*batch.ids.shape)
    with deployment.client() as client:
        client.prepare(shape)
        client.prepare(shape)
        with pytest.raises(ProtocolError, match="2 stocks of this client wait already"):
            client.prepare(shape)
    serves_others(deployment, batch)


def test_the_server_begins_with_another_stock(deployment: Deployment, batch: TokenBatch) -> None:
    client, channel, stock, _ = prepared(deployment, batch)
    genuine = channel.receive_control

    def receive_control(*wanted: type, **options: object) -> object:
        genuine(*wanted, **options)
        return say.Begun(new_id())

    channel.receive_control = receive_control  # type: ignore[method-assign,assignment]
    with client, pytest.raises(ProtocolError, match="began with another stock"):
        client.infer(batch)
    assert used(deployment.client_folder) == [stock]


def test_the_dealer_was_restarted(deployment: Deployment, batch: TokenBatch) -> None:
    """The server registers again when the next client comes."""
    with deployment.client() as client:
        client.infer(batch)
        deployment.restart_dealer()
        with pytest.raises(ConnectionFailed, match="the dealer"):
            client.infer(batch)
    serves_others(deployment, batch)


def test_a_dealer_without_these_weights(deployment: Deployment, batch: TokenBatch) -> None:
    with deployment.client() as client:
        deployment.dealer._weights.clear()
        with pytest.raises(ProtocolError, match="does not have the server's masked weights"):
            client.infer(batch)
    serves_others(deployment, batch)


def test_a_dealer_that_is_gone(deployment: Deployment) -> None:
    deployment.dealer_service.stop()
    no_dealer = pytest.raises(ProtocolError, match="the server has no dealer: cannot reach")
    with greeted(deployment) as channel, no_dealer:
        channel.receive_control(say.Welcome)


def test_an_idle_dealer_hangs_up(deployment: Deployment, batch: TokenBatch) -> None:
    """The server's channel to the dealer broke since it was last used: it opens another."""
    assert deployment.server._dealers._idle is not None
    deployment.server._dealers._idle.close()
    serves_others(deployment, batch)


def test_a_goodbye_before_hello(deployment: Deployment, batch: TokenBatch) -> None:
    deployment.to_server().close()
    with deployment.to_dealer() as channel:
        channel.send_control(say.Order(say.PROTOCOL, prg.fresh_seed()))
        with pytest.raises((ProtocolError, PeerLeft)):
            channel.receive_control(say.Dealt)
    serves_others(deployment, batch)
