"""Stocks in pieces: the same bytes as in one go, bounded memory, and nothing left of half a one."""

from __future__ import annotations

import io
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.serve.deployment import QUICK, Deployment, fresh

from veilform import kernels, prg
from veilform.correlation import weights as split
from veilform.correlation.deal import Dealing
from veilform.correlation.specs import Source
from veilform.errors import ConnectionFailed, ModelError, ProtocolError, StockError, VeilformError
from veilform.models.bert.sides import ServerSide, Shape
from veilform.models.text import TokenBatch
from veilform.roles import CLIENT, DEALER, SERVER
from veilform.serve import pending as pending_module
from veilform.serve import segments
from veilform.serve.beside import beside
from veilform.serve.pending import Pending
from veilform.transport import Channel, stream_pair

SHAPE = Shape(1, 16)
BROKE_OFF = (
    "^the dealer reports: it failed|^the server reports: .*dealing( of the stock)? broke off"
)
"""Either party may be the first to say so, and the server may ask when nothing is left."""


def views(*sizes: int) -> list[list[memoryview]]:
    return [[memoryview(bytes([i % 251]) * size)] for i, size in enumerate(sizes)]


def joined(parts: list[list[memoryview]]) -> bytes:
    return b"".join(part for some in parts for part in some)


@pytest.fixture
def pair() -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = stream_pair()
    with Channel(ours, DEALER, QUICK) as party, Channel(theirs, CLIENT, QUICK) as dealer:
        yield party, dealer


@pytest.mark.parametrize("least", [1, 100, 1 << 20])
def test_segments_hold_the_parts_in_order(
    pair: tuple[Channel, Channel], least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "SEGMENT_BYTES", least)
    party, dealer = pair
    parts = views(0, 1, 99, 100, 101, 0, 5000, 0)
    sink = io.BytesIO()
    segments.send_segments(dealer, parts)
    segments.receive_segments(party, sink, 5301)
    assert sink.getvalue() == joined(parts)


def test_more_than_is_due(pair: tuple[Channel, Channel]) -> None:
    party, dealer = pair
    segments.send_segments(dealer, views(10))
    with pytest.raises(ProtocolError, match="10 bytes where 9 are left"):
        segments.receive_segments(party, io.BytesIO(), 9)


def test_a_pending_stock_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much is dealt, no more than the bound is queued, or one part that is larger."""
    monkeypatch.setattr(pending_module, "MOST_QUEUED_BYTES", 100)
    pending, sizes = Pending("", b""), [30] * 40 + [500, 0, 1] * 3
    seen, parts = [], views(*sizes)

    def deal() -> None:
        for part in parts:
            pending.put(part)
            seen.append(pending.queued_bytes)
        pending.end()

    thread = threading.Thread(target=deal)
    thread.start()
    out = [list(some) for some in pending.parts()]
    thread.join()
    assert joined(out) == joined(parts)
    assert max(seen) <= 500
    assert all(queued <= 100 or queued == 500 for queued in seen)
    assert pending.queued_bytes == 0


@pytest.mark.parametrize("who", ["nobody collects", "nobody deals"])
def test_a_pending_stock_does_not_wait_for_ever(who: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending_module, "MOST_QUEUED_BYTES", 10)
    limit = "COLLECT_S" if who == "nobody collects" else "DEALING_S"
    monkeypatch.setattr(pending_module, limit, 0.05)
    pending = Pending("", b"")
    pending.put(views(8)[0])
    if who == "nobody collects":
        with pytest.raises(StockError, match="did not collect"):
            pending.put(views(8)[0])
    else:
        with pytest.raises(StockError, match="does not go on"):
            list(pending.parts())
    assert pending.queued_bytes == 0
    with pytest.raises(StockError):
        list(pending.parts())


def test_dealing_may_take_longer_than_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending_module, "COLLECT_S", 0.05)
    pending, parts = Pending("", b""), views(8)

    def deal() -> None:
        time.sleep(0.3)
        pending.put(parts[0])
        pending.end()

    thread = threading.Thread(target=deal)
    thread.start()
    assert joined([list(some) for some in pending.parts()]) == joined(parts)
    thread.join()


def test_work_beside() -> None:
    done: list[str] = []
    with beside(lambda: done.append("work"), lambda: done.append("stop")):
        pass
    assert done == ["work"]

    def fail() -> None:
        raise ConnectionFailed("beside")

    with pytest.raises(ConnectionFailed, match="beside"), beside(fail, lambda: None):
        pass
    failed = threading.Event()

    def fail_first() -> None:
        try:
            fail()
        finally:
            failed.set()

    def consequence() -> None:
        failed.wait(5)
        time.sleep(0.05)
        raise StockError("a consequence")

    with pytest.raises(ConnectionFailed, match="beside"), beside(fail_first, lambda: None):
        consequence()
    woken = threading.Event()
    own = pytest.raises(StockError, match="own")
    with own, beside(lambda: woken.wait(5) and fail(), woken.set):
        raise StockError("own")
    assert woken.is_set()


def test_streamed_is_what_is_dealt_in_one_go(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both parties' files hold the bytes that the same seeds give when dealt at once."""
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 1000)
    monkeypatch.setattr(pending_module, "MOST_QUEUED_BYTES", 10_000)
    with deployment.client() as client:
        client.prepare(SHAPE)
        manifest = client.side.manifest(SHAPE, client._weights)
        (ours,), (theirs,) = (
            [Path(name).stem for name in fresh(folder)]
            for folder in (deployment.client_folder, deployment.server_folder)
        )
        stocks = {
            role: store.claim(name, manifest, store._ledger.find(name)[0].peer)  # type: ignore[index]
            for role, store, name in (
                (CLIENT, client._store, ours),
                (SERVER, deployment.server._store, theirs),
            )
        }
    taken = {role: [stock.take(s) for s in manifest.specs] for role, stock in stocks.items()}
    seeds = {role: materials[0]._seed for role, materials in taken.items()}
    masked = deployment.dealer._weights[manifest.weights].held
    for index, dealt in enumerate(Dealing(manifest, seeds, masked).run()):
        for role, materials in taken.items():
            fields = [
                bytes(materials[index]._received[f.name])
                for f in manifest.specs[index].fields(role)
                if f.source is Source.DEALT
            ]
            assert fields == [bytes(part) for part in dealt[role]]


def breaking(after: int, error: BaseException) -> type[Dealing]:
    class Breaking(Dealing):
        def run(self):
            for index, dealt in enumerate(super().run()):
                if index == after:
                    raise error
                yield dealt

    return Breaking


@pytest.mark.parametrize("after", [1, 20])
def test_the_dealing_breaks_off(
    deployment: Deployment, batch: TokenBatch, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 1)
    with monkeypatch.context() as patch, deployment.client() as client:
        patch.setattr("veilform.serve.dealing.Dealing", breaking(after, MemoryError()))
        with pytest.raises(VeilformError, match=BROKE_OFF):
            client.prepare(SHAPE)
        assert not fresh(deployment.client_folder)
    assert not fresh(deployment.server_folder)
    assert not deployment.dealer._pending
    assert deployment.dealer._in_work == 0
    with deployment.client() as client:
        client.infer(batch)


def test_the_server_s_connection_to_the_dealer_breaks_off(
    deployment: Deployment, batch: TokenBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 1)
    genuine = segments.receive_segments

    def cut(channel: Channel, *arguments: object) -> None:
        deployment.server._dealers.drop(channel)
        genuine(channel, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, deployment.client() as client:
        patch.setattr("veilform.serve.server.receive_segments", cut)
        with pytest.raises(VeilformError):
            client.prepare(SHAPE)
        assert not fresh(deployment.client_folder)
    assert not fresh(deployment.server_folder)
    with deployment.client() as client:
        client.infer(batch)


def test_a_client_that_does_not_read_keeps_nobody_waiting(
    deployment: Deployment, batch: TokenBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its stock is half dealt, and the server waits for the rest of it."""
    monkeypatch.setattr(pending_module, "MOST_QUEUED_BYTES", 1000)
    going_on = threading.Event()
    genuine = Pending.put
    lazy_stock: list[Pending] = []

    def put(pending: Pending, parts: list[memoryview]) -> None:
        lazy_stock.append(pending)
        if pending is lazy_stock[0] and any(map(len, parts)):
            going_on.wait(10)
        genuine(pending, parts)

    monkeypatch.setattr(Pending, "put", put)
    with deployment.client() as lazy, deployment.client() as client:
        thread = threading.Thread(target=lazy.prepare, args=(SHAPE,))
        thread.start()
        deadline = time.monotonic() + 5
        while not lazy_stock and time.monotonic() < deadline:
            time.sleep(0.01)
        client.infer(batch)
        assert thread.is_alive()
        going_on.set()
        thread.join()
        lazy.infer(batch)


def test_a_weight_s_common_part_is_made_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    genuine = split.common_part
    monkeypatch.setattr(split, "common_part", lambda *a: made.append(a[1]) or genuine(*a))
    parts = split.CommonParts(prg.fresh_seed(), {"a": (2, 3), "b": (4,)})
    assert list(parts) == ["a", "b"]
    assert not made
    assert parts["b"].tolist() == genuine(parts._seed, "b", (4,)).tolist()
    assert made == ["b"]


def test_the_masked_weights_are_read_again_from_the_same_model(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    side = ServerSide(folder)
    seed = prg.fresh_seed()
    for (name, shape), s in zip(side.weight_shapes.items(), side.masked(seed), strict=True):
        assert s.shape == shape
        plain = split.common_part(seed, name, shape) - s
        packed = side._packed.weights[name]
        if len(shape) == 2:
            one = np.eye(shape[0], dtype=np.uint64)
            assert np.array_equal(kernels.matmul(one, packed), plain)
        else:
            assert np.array_equal(packed, plain)
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match="was changed since it was read"):
        next(side.masked(seed))
