"""A gateway in threads of the test's process, over a real server and dealer, and a raw client."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Collection, Mapping
from typing import Any

from starlette.types import ASGIApp

from veilform.gateway.app import build
from veilform.gateway.guard import LOOPBACK
from veilform.gateway.listening import HttpServer, bind
from veilform.gateway.served import Catalogue


class Answer:
    """A whole HTTP answer."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def events(self) -> list[tuple[str, Any]]:
        """Of a text/event-stream."""
        found = []
        for block in self.body.decode().strip().split("\n\n"):
            name, data = block.split("\n")
            found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
        return found


class Gateway:
    """An HTTP server with a catalogue's application, or another one."""

    def __init__(
        self,
        catalogue: Catalogue,
        token: str | None = None,
        hosts: Collection[str] = LOOPBACK,
        app: ASGIApp | None = None,
    ) -> None:
        self.catalogue = catalogue
        listening = bind("127.0.0.1", 0)
        self.port: int = listening.getsockname()[1]
        self._server = HttpServer(app or build(catalogue, hosts, token), listening)
        self._thread = threading.Thread(target=self._server.run, name="http")
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request on a connection of its own; a body that is not bytes goes as JSON."""
        sent = {"Content-Type": "application/json"} if body is not None else {}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {**sent, **(headers or {})})
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def close(self) -> None:
        self._server.stop()
        self._thread.join(10)
        assert not self._thread.is_alive()
