"""Inside a run: changed messages, values out of range, costs, and what must not be written down."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tests.serve.deployment import Deployment, Tamper, fresh, serving, used

from veilform import prg
from veilform.errors import ConnectionFailed, ProtocolError, RangeError, VeilformError
from veilform.models.bert.plain import PlainBert
from veilform.models.bert.sides import ServerSide, Shape
from veilform.models.text import TextEncoder, TokenBatch
from veilform.plan.cost import Report
from veilform.roles import Role
from veilform.transport import Identity, Settings
from veilform.transport.frames import Kind, encode_header

VICTIM = 3  # the DATA frame that is changed


def sequence(header: bytes) -> int:
    return int.from_bytes(header[8:], "little")


def replayed(n: int, header: bytes, payload: bytes) -> Sequence[bytes]:
    return [header, payload] * (2 if n == VICTIM else 1)


def reordered(n: int, header: bytes, payload: bytes) -> Sequence[bytes]:
    """The number of the next frame: as if this one had overtaken another."""
    shift = int(n == VICTIM)
    return [encode_header(Kind.DATA, len(payload), sequence(header) + shift), payload]


def longer(n: int, header: bytes, payload: bytes) -> Sequence[bytes]:
    sent = payload + bytes(8) if n == VICTIM else payload
    return [encode_header(Kind.DATA, len(sent), sequence(header)), sent]


def shorter(n: int, header: bytes, payload: bytes) -> Sequence[bytes]:
    sent = payload[:-8] if n == VICTIM else payload
    return [encode_header(Kind.DATA, len(sent), sequence(header)), sent]


def enormous(n: int, header: bytes, payload: bytes) -> Sequence[bytes]:
    """Only announced. The receiver must refuse before it waits for the payload or makes room."""
    if n != VICTIM:
        return [header, payload]
    return [encode_header(Kind.DATA, 2**31, sequence(header))]


CHANGES = {
    replayed: "replayed or reordered",
    reordered: "frames are missing",
    longer: "allowed here: exactly",
    shorter: "allowed here: exactly",
    enormous: "allowed here: exactly",
}


def settled(deployment: Deployment) -> None:
    """Waits until the server is done with every client."""
    deadline = time.monotonic() + 5
    while deployment.server_service._threads:
        assert time.monotonic() < deadline, "a connection is left"
        time.sleep(0.01)


@pytest.mark.parametrize("at_client", [True, False], ids=["to_server", "to_client"])
@pytest.mark.parametrize("tamper", CHANGES, ids=lambda tamper: tamper.__name__)
def test_a_changed_message_ends_the_run(
    deployment: Deployment,
    batch: TokenBatch,
    tamper: Tamper,
    at_client: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    way = {"at_client" if at_client else "at_server": tamper}
    start = time.monotonic()
    with (
        deployment.client(to_server=deployment.through(**way)) as client,
        pytest.raises(ProtocolError) as error,
    ):
        client.infer(batch)
    settled(deployment)
    assert time.monotonic() - start < 5
    assert CHANGES[tamper] in str(error.value)
    # The other end knows why, too.
    assert any(CHANGES[tamper] in record.getMessage() for record in caplog.records)
    assert not fresh(deployment.server_folder)
    assert not fresh(deployment.client_folder)
    assert used(deployment.server_folder) == used(deployment.client_folder)
    assert len(used(deployment.server_folder)) == 1
    with deployment.client() as client:
        client.infer(batch)


def test_a_frame_cut_in_the_middle(deployment: Deployment, batch: TokenBatch) -> None:
    def cut(n: int, header: bytes, payload: bytes) -> Sequence[bytes]:
        if n == VICTIM + 1:
            raise OSError("unplugged")
        return [header, payload[: len(payload) // 2] if n == VICTIM else payload]

    broken = pytest.raises((ConnectionFailed, ProtocolError))
    with deployment.client(to_server=deployment.through(at_client=cut)) as client:
        client._server._framing._settings = Settings(timeout_s=0.3, close_timeout_s=1.0)
        with broken:
            client.infer(batch)
    settled(deployment)
    assert not fresh(deployment.server_folder)
    assert not fresh(deployment.client_folder)


def test_changed_content_of_the_right_size(deployment: Deployment, batch: TokenBatch) -> None:
    """Out of the model, which is semi-honest: the run ends all the same, and burns its stock."""

    def flipped(n: int, header: bytes, payload: bytes) -> Sequence[bytes]:
        return [header, bytes(b ^ 0xFF for b in payload) if n == VICTIM else payload]

    through = deployment.through(at_client=flipped)
    with deployment.client(to_server=through) as client, contextlib.suppress(VeilformError):
        client.infer(batch)
    settled(deployment)
    assert not fresh(deployment.server_folder)


def test_costs_are_as_predicted_in_both_directions(
    deployment: Deployment, tiny_public: Path, tiny: Path
) -> None:
    encoder = TextEncoder.from_folder(tiny_public)
    texts = ["a good film", "it was very very bad, dull and badly lit", "not good"]
    plain = PlainBert.load(tiny)
    with deployment.client() as client:
        for batch in (encoder.pad(encoder.encode(texts[:1])), encoder.pad(encoder.encode(texts))):
            logits, cost = client.infer(batch)
            shape = Shape(*batch.ids.shape)
            manifest = client.side.manifest(shape, client._weights)
            report = Report(client.side.trace(shape))
            assert cost.bytes_client_to_server == report.up_bytes
            assert cost.bytes_server_to_client == report.down_bytes
            assert cost.messages == len(manifest.up) + len(manifest.down)
            assert cost.offline_bytes == manifest.offline_bytes
            expected = plain.forward(batch.ids, batch.mask, batch.types)
            np.testing.assert_allclose(logits, expected, atol=1e-2)


def test_out_of_range_gives_no_answer(
    narrow_tiny: Path, party_identities: dict[Role, Identity], batch: TokenBatch, tmp_path: Path
) -> None:
    with serving(ServerSide(narrow_tiny), party_identities, tmp_path) as running:
        with running.client() as client:
            for _ in range(2):  # and the connection goes on
                with pytest.raises(RangeError, match="no answer") as error:
                    client.infer(batch)
        assert error.value.exit_code == 4
        settled(running)
        assert not fresh(running.server_folder)
        assert len(used(running.server_folder)) == 2


def test_clients_beside_each_other(deployment: Deployment, batch: TokenBatch) -> None:
    """A client that dawdles keeps nobody waiting."""
    with deployment.client() as slow, deployment.client() as quick:
        slow.prepare(Shape(*batch.ids.shape))
        first, _ = quick.infer(batch)
        second, _ = slow.infer(batch)
        np.testing.assert_allclose(first, second, atol=1e-2)


def test_nothing_secret_is_logged(
    deployment: Deployment,
    tiny_public: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    seeds: list[bytes] = []
    genuine = prg.fresh_seed
    monkeypatch.setattr(prg, "fresh_seed", lambda: seeds.append(genuine()) or seeds[-1])
    text = "dull plot, badly lit"
    encoder = TextEncoder.from_folder(tiny_public)
    sent: list[bytes] = []

    def watched(n: int, header: bytes, payload: bytes) -> Sequence[bytes]:
        sent.append(payload)
        return [header, payload]

    def changed(n: int, header: bytes, payload: bytes) -> Sequence[bytes]:
        return longer(n, header, payload)

    batch = encoder.pad(encoder.encode([text]))
    shown = []
    through = deployment.through(at_client=watched, at_server=watched)
    with deployment.client(to_server=through) as client:
        client.prepare(Shape(*batch.ids.shape))
        taken = client.take(Shape(*batch.ids.shape))
        shown += [repr(client), repr(taken), repr(client._store), repr(client.side)]
        client.infer(batch, stock=taken)
    through = deployment.through(at_client=changed)
    with deployment.client(to_server=through) as client, pytest.raises(ProtocolError) as error:
        client.infer(batch)
    shown += [str(error.value), repr(error.value), repr(deployment.dealer), repr(deployment.server)]
    shown += [repr(deployment.server_service), *capfd.readouterr()]
    shown += [record.getMessage() for record in caplog.records]
    everything = "\n".join(shown)
    assert "stock dealt" in everything
    assert len(seeds) >= 4
    for word in text.replace(",", "").split():
        assert word not in everything
    long = [each for each in sent if len(each) >= 16]
    for secret in [*seeds, *(each[:16] for each in long), *(each[-16:] for each in long)]:
        for form in (secret.hex(), repr(secret)[2:-1], str(list(secret))[1:-1]):
            assert form not in everything
