"""A dealer and a server in threads of the test's process, and what a test breaks in them."""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from veilform.correlation.store import StockStore
from veilform.models import families
from veilform.models.sides import ServerSide
from veilform.roles import CLIENT, DEALER, SERVER, Role
from veilform.serve.client import Client
from veilform.serve.dealer import Dealer
from veilform.serve.masking import kept_in
from veilform.serve.served import Models
from veilform.serve.server import Server
from veilform.serve.service import Service
from veilform.transport import (
    Channel,
    Identity,
    Kind,
    Listener,
    Settings,
    Stream,
    connect,
    stream_pair,
)

QUICK = Settings(timeout_s=5.0, close_timeout_s=2.0)
Identities = dict[Role, Identity]


class Deployment:
    """Real services behind real TLS on 127.0.0.1; clients are made on demand."""

    def __init__(self, side: ServerSide, public: Path, identities: Identities, folder: Path):
        self.public, self.identities, self.folder = public, identities, folder
        self.server_folder, self.client_folder = folder / "server", folder / "client"
        self.dealer = Dealer()
        self._threads: list[threading.Thread] = []
        self._dealer_listener = Listener("127.0.0.1", 0, identities[DEALER], settings=QUICK)
        self.dealer_service = self.dealer.service(self._dealer_listener)
        self._start(self.dealer_service)
        self._start_server(side, 0)

    def _start_server(self, side: ServerSide, port: int) -> None:
        store = StockStore(self.server_folder, SERVER)
        self.server = Server(
            Models([side], kept_in(self.server_folder)), store, lambda: self.to_dealer(SERVER)
        )
        self.server.register()
        self._server_listener = Listener("127.0.0.1", port, self.identities[SERVER], settings=QUICK)
        self.server_service = self.server.service(self._server_listener)
        self._start(self.server_service)

    @property
    def server_address(self) -> str:
        return f"127.0.0.1:{self._server_listener.port}"

    @property
    def dealer_address(self) -> str:
        return f"127.0.0.1:{self._dealer_listener.port}"

    def options(self, certificates: Path, stock: Path) -> list[object]:
        """Of commands whose client asks this service."""
        return [
            self.public, "--certificates", certificates, "--stock", stock,
            "--server", self.server_address, "--dealer", self.dealer_address,
        ]  # fmt: skip

    @property
    def side(self) -> ServerSide:
        """Of the one model that is served."""
        (served,) = self.server._models
        return served.side

    def to_dealer(self, role: Role = CLIENT) -> Channel:
        port = self._dealer_listener.port
        return connect("127.0.0.1", port, self.identities[role], DEALER, settings=QUICK)

    def to_server(self) -> Channel:
        port = self._server_listener.port
        return connect("127.0.0.1", port, self.identities[CLIENT], SERVER, settings=QUICK)

    def client(
        self,
        public: Path | None = None,
        to_server: Callable[[], Channel] | None = None,
        to_dealer: Callable[[], Channel] | None = None,
    ) -> Client:
        return Client(
            families.client_side(public or self.public),
            StockStore(self.client_folder, CLIENT),
            to_server or self.to_server,
            to_dealer or self.to_dealer,
        )

    def through(
        self, at_client: Tamper | None = None, at_server: Tamper | None = None
    ) -> Callable[[], Channel]:
        """Connects to the server in memory, with DATA frames changed on their way."""

        def open_channel() -> Channel:
            ours, theirs = stream_pair()
            channel = Channel(Tampering(theirs, at_server), CLIENT, QUICK)
            assert self.server_service._begin(channel, CLIENT)
            return Channel(Tampering(ours, at_client), SERVER, QUICK)

        return open_channel

    def restart_dealer(self) -> None:
        """Another dealer, which knows nothing of the first one's, at the same address."""
        port = self._dealer_listener.port
        self.dealer_service.stop()
        self._threads.pop(0).join(5)
        self.dealer = Dealer()
        self._dealer_listener = Listener("127.0.0.1", port, self.identities[DEALER], settings=QUICK)
        self.dealer_service = self.dealer.service(self._dealer_listener)
        self._start(self.dealer_service)
        self._threads.insert(0, self._threads.pop())

    def restart_server(self, side: ServerSide | None = None) -> None:
        """Another server on the same folder, at the same address."""
        side, port = side or self.side, self._server_listener.port
        self.server_service.stop()
        self.server.close()
        self._threads.pop().join(5)
        # A thread of the old one may end later than its process would.
        self.server._store.close()
        self._start_server(side, port)

    def close(self) -> None:
        self.server_service.stop()
        self.server.close()
        self.dealer_service.stop()
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()

    def _start(self, service: Service) -> None:
        thread = threading.Thread(target=service.run, name="service")
        thread.start()
        self._threads.append(thread)


@contextlib.contextmanager
def serving(side: ServerSide, identities: Identities, folder: Path) -> Iterator[Deployment]:
    """Publishes a model below a folder, and serves it from there."""
    families.publish(side, folder / "public")
    with contextlib.closing(Deployment(side, folder / "public", identities, folder)) as running:
        yield running


def fresh(folder: Path) -> list[str]:
    """Files in a stock folder that could still be claimed, or hold anything."""
    files = {p.name for p in folder.iterdir()} - {".lock", "weights"}
    rows = {f"{stock}.stock" for stock in of_state(folder, "coming", "fresh")}
    return sorted({name for name in files if not name.startswith("ledger.sqlite")} | rows)


def used(folder: Path) -> list[str]:
    """Stocks that cannot be claimed any more."""
    return of_state(folder, "used", "burnt")


def of_state(folder: Path, *states: str) -> list[str]:
    """The stocks in a folder's ledger that are in one of these states, oldest first."""
    with contextlib.closing(sqlite3.connect(folder / "ledger.sqlite")) as ledger:
        rows = ledger.execute("SELECT id, state FROM stocks ORDER BY number").fetchall()
    return [stock for stock, state in rows if state in states]


Tamper = Callable[[int, bytes, bytes], Sequence[bytes]]
"""The number of a DATA frame, its header and payload, to what is sent instead."""


class Tampering(Stream):
    """Changes the DATA frames that this end sends. A frame is one call, as channels send it."""

    def __init__(self, inner: Stream, tamper: Tamper | None) -> None:
        self._inner, self._tamper, self._count = inner, tamper, itertools.count()

    def send_all(self, buffers: Sequence[memoryview], timeout_s: float) -> None:
        header = bytes(buffers[0])
        if self._tamper is not None and header[1] == Kind.DATA:
            payload = b"".join(bytes(b) for b in buffers[1:])
            sent = self._tamper(next(self._count), header, payload)
            buffers = [memoryview(each) for each in sent if each]
        self._inner.send_all(buffers, timeout_s)

    def receive_exactly_into(self, view: memoryview, timeout_s: float) -> int:
        return self._inner.receive_exactly_into(view, timeout_s)

    def close(self, linger_s: float = 0.0) -> None:
        self._inner.close(linger_s)


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
