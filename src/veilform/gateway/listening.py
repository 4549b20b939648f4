"""The HTTP server around the application: where it listens, and how long it waits for a peer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import socket
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from veilform.errors import InputError

HEAD_S = 10.0
"""For a request's head, from the connection or the last answer on."""
MOST_CONNECTIONS = 256
MOST_HEAD_BYTES = 16 << 10


class Patient(H11Protocol):
    """uvicorn's protocol, which by itself waits for a request's head for ever."""

    _alarm: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_request():
            self._stop_waiting()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._in_request():
            self._wait_for_head()

    def _in_request(self) -> bool:
        cycle: Any = self.cycle  # None before the first request
        return cycle is not None and not cycle.response_complete

    def _wait_for_head(self) -> None:
        self._stop_waiting()
        self._alarm = self.loop.call_later(HEAD_S, self._give_up)

    def _stop_waiting(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _give_up(self) -> None:
        if not self._in_request():
            self.transport.close()


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 takes a free one.

    Raises:
        InputError: it cannot.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol said, asyncio sets TCP_NODELAY; else an answer waits 40 ms for an ACK.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise InputError(f"cannot listen at {host}:{port}: {error.strerror}") from None
    return listening


class HttpServer:
    """Runs an application on a socket, until it is stopped from any thread."""

    def __init__(self, app: ASGIApp, listening: socket.socket) -> None:
        # Their lines hold paths and errors that peers choose.
        for name in ("uvicorn.error", "uvicorn.access"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._socket = listening
        self._server = _Quiet(
            uvicorn.Config(
                app,
                http=Patient,
                ws="none",
                lifespan="off",
                loop="asyncio",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=MOST_CONNECTIONS,
                h11_max_incomplete_event_size=MOST_HEAD_BYTES,
                timeout_keep_alive=int(HEAD_S),
            )
        )

    def run(self) -> None:
        """Serves until `stop`."""
        self._server.run(sockets=[self._socket])

    def stop(self, patience_s: float = 0.0) -> None:
        """Ends it, within so many seconds if requests are in work. May be called again."""
        self._server.config.timeout_graceful_shutdown = math.ceil(patience_s)
        self._server.force_exit = not patience_s and self._server.should_exit
        self._server.should_exit = True


class _Quiet(uvicorn.Server):
    """Signals are the program's own affair."""

    def capture_signals(self) -> Any:
        return contextlib.nullcontext()
