"""The parsers, each with valid inputs to begin from."""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from fuzzing import images, service
from fuzzing.target import Target
from veilform.correlation.check import check_dealable
from veilform.correlation.manifest import Manifest
from veilform.correlation.specs import Open, Preshare, Square
from veilform.correlation.stockfile import Incoming, Outgoing
from veilform.masks import MaskRef
from veilform.models.bert.calibration import CALIBRATION, Calibration
from veilform.models.bert.config import BertConfig
from veilform.models.bert.sides import SCALES, ClientSide, ScaleTable, ServerSide, Shape, publish
from veilform.models.checkpoint import CONFIG, WEIGHTS, resolve
from veilform.models.tensors import TensorFile
from veilform.models.text import TextEncoder
from veilform.plan.presets import ModelShape
from veilform.plan.random_model import write_model
from veilform.roles import CLIENT, SERVER
from veilform.serve import address
from veilform.serve import messages as say
from veilform.transport import Channel, Identity, Kind, Settings, Stream, create_deployment, links
from veilform.transport.control import Control, decode_control, encode_control
from veilform.transport.engine import TlsEngine
from veilform.transport.frames import encode_header
from veilform.transport.handshake import explain, tls_context
from veilform.transport.identity import host_name


def all_targets(folder: Path) -> list[Target]:
    """Every parser. Those of files have theirs in ``folder``, best one in memory."""
    model = small(folder)
    strangers = [
        control_frames(),
        data_frames(),
        bulk(),
        messages(),
        manifests(model),
        handshake(folder),
    ]
    files = [stocks(folder), tensors(folder, model), configuration(folder, model)]
    written = [calibration(model), scales(model), texts(), options(), service.settings(folder)]
    seen = [images.pictures(), images.programs(folder), images.folders(folder)]
    return [*strangers, *files, *written, *seen, service.http(folder)]


class _Fed(Stream):
    """A peer that sent these bytes, and left."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = memoryview(data), 0

    def send_all(self, buffers: Sequence[memoryview], timeout_s: float) -> None:
        pass

    def receive_exactly_into(self, view: memoryview, timeout_s: float) -> int:
        part = self._data[self._at : self._at + len(view)]
        view[: len(part)] = part
        self._at += len(part)
        return len(part)

    def close(self, linger_s: float = 0.0) -> None:
        pass


QUICK = Settings(timeout_s=1.0, close_timeout_s=0.1)
WORDS = "0123456789abcdef"
SAID: tuple[Control, ...] = (
    say.Hello(say.PROTOCOL, WORDS * 4, WORDS * 2),
    say.Welcome(say.PROTOCOL, WORDS * 2, bytes(16), WORDS * 2),
    say.Held((WORDS * 2, "f" * 32), last=True),
    say.Offer(WORDS * 2, WORDS * 4, 2, 32),
    say.Stored(WORDS * 2),
    say.Begin(say.PROTOCOL, WORDS * 4, WORDS * 4, WORDS * 2, 1000),
    say.Busy(WORDS * 2, "no turn"),
    say.Begun(WORDS * 2),
    say.Register(say.PROTOCOL, WORDS * 2, {"layer.0": (384, 384), "bias": (384,)}),
    say.Registered(WORDS * 2),
    say.Probe(say.PROTOCOL, WORDS * 2),
    say.Probed(True),
    say.Order(say.PROTOCOL, bytes(40)),
    say.Collect(say.PROTOCOL, WORDS * 2, WORDS * 4),
    say.Dealt(WORDS * 2, bytes(16)),
    say.Segment(100),
    say.Refused(WORDS * 2, "none"),
)


def _framed(*frames: tuple[Kind, bytes]) -> bytes:
    return b"".join(
        encode_header(kind, len(payload), number) + payload
        for number, (kind, payload) in enumerate(frames)
    )


def _channel(data: bytes) -> Channel:
    return Channel(_Fed(data), SERVER, QUICK)


KINDS = tuple(type(one) for one in SAID)
LAST = _framed((Kind.ERROR, b"it failed")), _framed((Kind.BYE, b""))


def control_frames() -> Target:
    """Frames as a channel receives them where a control message is due."""

    def parse(data: bytes) -> None:
        with _channel(data) as channel:
            channel.receive_control(*KINDS)

    spoken = [_framed((Kind.CONTROL, encode_control(one))) for one in SAID]
    return Target("control frames", [*spoken, *LAST], parse)


def data_frames() -> Target:
    """Frames as a channel receives them where messages of the protocol are due."""

    def parse(data: bytes) -> None:
        with _channel(data) as channel:
            channel.receive_data(64)
            channel.receive_data(8, exact=True)

    return Target(
        "data frames", [_framed((Kind.DATA, bytes(64)), (Kind.DATA, bytes(8))), *LAST], parse
    )


def bulk() -> Target:
    """A bulk transfer of a size that was agreed."""

    def parse(data: bytes) -> None:
        with _channel(data) as channel:
            channel.receive_bulk(1000)

    size = (1000).to_bytes(8, "little")
    return Target("bulk transfers", [_framed((Kind.BULK, size), (Kind.BULK, bytes(1000)))], parse)


def messages() -> Target:
    """What the parties say, decoded as any of it."""

    def parse(data: bytes) -> None:
        decode_control(memoryview(data), KINDS, "the peer")

    return Target("control messages", [encode_control(one) for one in SAID], parse)


class Small(NamedTuple):
    """A model of one layer: its folder's files, and a manifest for one short text."""

    config: bytes
    calibration: bytes
    scales: bytes
    weights: bytes
    manifest: Manifest


def small(folder: Path) -> Small:
    """Made in a folder, with random weights."""
    shape = ModelShape("small", layers=1, hidden=32, heads=2, inner=32, attention="2relu")
    write_model(folder / "model", shape, 16)
    side = ServerSide(folder / "model")
    publish(side, folder / "public")
    public = ClientSide(folder / "public")
    read = {name: (folder / "model" / name).read_bytes() for name in (CONFIG, CALIBRATION, WEIGHTS)}
    scales = (folder / "public" / SCALES).read_bytes()
    manifest = public.manifest(Shape(1, 16), WORDS * 2)
    return Small(read[CONFIG], read[CALIBRATION], scales, read[WEIGHTS], manifest)


def manifests(model: Small) -> Target:
    """What a client orders, up to where the dealer would begin to deal."""

    def parse(data: bytes) -> None:
        manifest = Manifest.decode(data)
        manifest.check_size(say.MOST_DEALT_BYTES)
        check_dealable(manifest)

    encoded = model.manifest.encode()
    few = msgspec.structs.replace(model.manifest, specs=model.manifest.specs[:3]).encode()
    return Target("manifests", [encoded, few, few, few], parse)


def stocks(folder: Path) -> Target:
    """A stock's file, read to its end."""
    specs = (
        Preshare("x", (2, 3), 16),
        Open("y", (2, 3), 16, 24, (SERVER,), MaskRef("x")),
        Square("z", (2, 3), MaskRef("y"), 16, 24),
    )
    manifest = Manifest(WORDS * 4, "", 1, 16, specs, (8,), (8,))
    path = folder / "fuzzed.stock"
    with path.open("wb") as file:
        stock = Incoming(file.fileno(), SERVER, manifest, bytes(16))
        stock.dealt.write(bytes(range(manifest.dealt_bytes(SERVER))))
        stock.seal()

    def parse(data: bytes) -> None:
        path.write_bytes(data)
        for fields in Outgoing(os.open(path, os.O_RDONLY), SERVER, manifest).fields():
            assert all(isinstance(field, memoryview) for field in fields.values())

    return Target("stock files", [path.read_bytes()], parse)


def handshake(folder: Path) -> Target:
    """The listening side of a TLS handshake."""
    create_deployment(folder / "certificates")
    listening = tls_context(Identity.load(folder / "certificates", SERVER), listening=True)
    client = TlsEngine(
        tls_context(Identity.load(folder / "certificates", CLIENT), listening=False),
        host_name(SERVER),
    )
    client.shake_hands()

    def parse(data: bytes) -> None:
        engine = TlsEngine(listening, None)
        try:
            engine.arrived(memoryview(data))
            engine.shake_hands()
        except ssl.SSLError as error:
            raise explain(error, "a stranger") from None

    return Target("handshakes", [client.leaving()], parse)


def tensors(folder: Path, model: Small) -> Target:
    """A safetensors file: its index, and every tensor in it."""
    path = folder / "fuzzed.safetensors"

    def parse(data: bytes) -> None:
        path.write_bytes(data)
        file = TensorFile(path)
        for name in file.tensors:
            file.read(name)

    header = 8 + int.from_bytes(model.weights[:8], "little")
    tiny = json.dumps({"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}).encode()
    small_file = len(tiny).to_bytes(8, "little") + tiny + bytes(16)
    return Target("tensor files", [model.weights[: header + 100], small_file, small_file], parse)


def configuration(folder: Path, model: Small) -> Target:
    """config.json."""

    def parse(data: bytes) -> None:
        (folder / CONFIG).write_bytes(data)
        BertConfig.read(folder)

    return Target("configurations", [model.config], parse)


def calibration(model: Small) -> Target:
    """calibration.json."""
    return Target("calibrations", [model.calibration], Calibration.from_json)


def scales(model: Small) -> Target:
    """scales.json, of a client's folder."""
    return Target("scales", [model.scales], ScaleTable.from_json)


def texts() -> Target:
    """What a user types, to padded tokens. Bytes that are no UTF-8 become surrogates."""
    encoder = TextEncoder.from_folder(resolve("minilm-l6-sentiment"))
    corpus = [
        b"A film that stays with you.",
        "Żółć — 映画は\u200dよかった 👩‍👩‍👧 \ufeff \u0000".encode(),
        b"a" * 3000,
        b"[CLS] [SEP] [MASK] ##ing \r\n\t",
    ]

    def parse(data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape")
        half = len(text) // 2
        for tokens in encoder.encode([text if half % 2 else (text[:half], text[half:])]):
            encoder.pad([tokens])

    return Target("texts", corpus, parse)


def options() -> Target:
    """Addresses and links, as users write them."""

    def parse(data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        address.parse(text) if len(data) % 2 else links.parse(text)

    return Target("addresses and links", [b"127.0.0.1:7001", b"[::1]:80", b"300mbit/25ms"], parse)
