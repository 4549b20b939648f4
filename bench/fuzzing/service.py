"""What operators write and what callers send: settings, and the gateway's HTTP API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from fuzzing.target import Target
from veilform.drive.network import Follow
from veilform.gateway.app import build
from veilform.gateway.served import Catalogue, Served
from veilform.models.bert.sides import ClientSide
from veilform.models.text import TokenBatch
from veilform.serve.client import InferenceCost
from veilform.serve.pool import Pool
from veilform.serve.sessions import Result
from veilform.settings import DealSettings, GatewaySettings, ServeSettings, load

KINDS = (DealSettings, ServeSettings, GatewaySettings)
NOTHING = InferenceCost(0.0, 0.0, 0, 0, 0, 0, {})
GIVEN = {503, 504}
"""Of the server's errors, those that say something: not ready, too late."""


def settings(folder: Path) -> Target:
    """A TOML file, and the environment, for each party in turn."""
    file = folder / "settings.toml"
    model = f"[[model]]\nname = 'small'\nversion = '2'\npath = '{folder / 'public'}'\n"
    common = f"certificates = '{folder}'\nlisten = '127.0.0.1:7001'\npatience_s = 2.5\n"
    other = "dealer = '[::1]:7002'\nserver = 'localhost:1'\nstock = 'stock'\ntraces = true\n"
    levels = "ready = 2\nhost_names = ['a', 'b']\n[[level]]\nlength = 32\nbatch = 2\n"

    def parse(data: bytes) -> None:
        if data.startswith(b"VEILFORM_"):
            pairs = (line.partition("=") for line in data.decode("utf-8", "replace").split("\n"))
            load(KINDS[len(data) % 3], None, {name: value for name, _, value in pairs})
        file.write_bytes(data)
        load(KINDS[len(data) % 3], file)

    environment = "VEILFORM_STOCK=s\nVEILFORM_LISTEN=[::1]:9\nVEILFORM_BATCH=2\nVEILFORM_MODEL=m"
    corpus = [common, common + other + model, common + other + levels + model, environment]
    return Target("settings", [each.encode() for each in corpus], parse)


class NoRun:
    """A session whose runs take no time."""

    def __init__(self, outputs: int) -> None:
        self._outputs = outputs

    def infer(self, batch: TokenBatch, stock: Any, patience_s: float, follow: Follow) -> Result:
        return np.zeros((len(batch.ids), self._outputs)), NOTHING

    def close(self) -> None:
        """Nothing to end."""


def http(folder: Path) -> Target:
    """A request to the gateway, as its HTTP server hands it on: none may make it fail."""
    side = ClientSide(folder / "public")
    pool = Pool(lambda: NoRun(side.config.outputs), side.public.encoder.pad, sessions=1)
    app = build(Catalogue([Served("small", "1", side, pool)]))
    loop = asyncio.new_event_loop()

    def parse(data: bytes) -> None:
        status = loop.run_until_complete(_status(app, data))
        assert status < 500 or status in GIVEN, f"it answered {status}"

    return Target("HTTP requests", [*_requests()], parse)


def _requests() -> list[bytes]:
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a quiet film"]}
    asked: list[tuple[str, Any]] = [
        ("POST /classify", {"text": "a quiet film", "model": "small", "version": "1"}),
        ("POST /classify", {"texts": ["a", {"text": "b", "text_pair": "c"}], "deadline_s": 5}),
        ("POST /embed", {"text": "a quiet film"}),
        ("POST /ui/classify", {"text": "a quiet film", "model": "small"}),
        ("POST /v2/models/small/infer", {"id": "1", "inputs": [tensor]}),
        ("POST /v2/models/small/versions/1/infer", {"inputs": [tensor], "parameters": {}}),
        ("GET /v2/models/small/ready", None),
        ("GET /models?x=%ff", None),
        ("GET /openapi.json", None),
    ]
    head = "host: localhost\ncontent-type: application/json\norigin: http://localhost\n"
    return [
        f"{line}\n{head}\n{'' if body is None else json.dumps(body)}".encode()
        for line, body in asked
    ]


async def _status(app: Any, data: bytes) -> int:
    """The status of the answer to a request: a line, headers, an empty line, a body."""
    head, _, body = data.partition(b"\n\n")
    line, *headers = head.split(b"\n")
    method, _, target = line.partition(b" ")
    path, _, query = target.partition(b"?")
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http",
        "method": method.decode("latin-1"), "path": unquote(path.decode("latin-1")),
        "raw_path": path, "query_string": query, "root_path": "",
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
        "headers": [
            (name.strip().lower(), value.strip())
            for name, _, value in (each.partition(b":") for each in headers)
        ],
    }  # fmt: skip
    whole = iter([{"type": "http.request", "body": body, "more_body": False}])
    statuses: list[int] = []

    async def receive() -> MutableMapping[str, Any]:
        for event in whole:
            return event
        await asyncio.Event().wait()  # the caller stays
        raise AssertionError

    async def send(event: MutableMapping[str, Any]) -> None:
        if event["type"] == "http.response.start":
            statuses.append(event["status"])

    await app(scope, receive, send)
    (status,) = statuses
    return status
