"""Dealer, server, gateway and a direct client, with a line that can be cut between each two."""

from __future__ import annotations

import contextlib
import socket
import sys
from pathlib import Path

from faulting.disk import Disk
from faulting.parties import Party
from faulting.relay import Relay
from veilform.models.checkpoint import resolve
from veilform.pipeline import DEFAULT_MODEL
from veilform.transport import create_deployment

SESSIONS = 2
DAYS = 365
CLIENT_PROGRAM = Path(__file__).with_name("client.py")


def free_port() -> int:
    """One that nobody listens at now."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as found:
        port: int = found.getsockname()[1]
        return port


class Deployment:
    """The four, with the shipped student.

    Attributes:
        dealer, server, gateway, client: the parties, also in ``parties`` in the order of starting.
        disks: of those that keep stocks, by name; the server's, and each client's.
        lines: the connections that can be cut.
        url: the gateway's.
    """

    def __init__(self, folder: Path) -> None:
        certificates, public = folder / "certificates", folder / "public"
        create_deployment(certificates, days=DAYS)
        self.disks = {
            name: Disk(folder / f"{name}-stock") for name in ("server", "gateway", "client")
        }
        stocks = {name: str(disk.folder) for name, disk in self.disks.items()}
        ports = {name: free_port() for name in ("dealer", "server", "gateway")}
        self.lines = [Relay(ports[to]) for to in ("dealer", "dealer", "dealer", "server", "server")]
        for_server, *others = (f"127.0.0.1:{line.port}" for line in self.lines)
        gateways_dealer, clients_dealer, gateways_server, clients_server = others
        given = ["--certificates", str(certificates)]

        def run(verb: str, name: str, *arguments: str) -> Party:
            command = [sys.executable, "-m", "veilform", verb, *arguments, *given]
            command += ["--listen", f"127.0.0.1:{ports[name]}", "--patience", "5"]
            return Party(name, [*command, "--until-stdin-closes"], folder / name)

        self.dealer = run("deal", "dealer")
        self.server = run(
            "serve", "server", str(resolve(DEFAULT_MODEL)), "--publish", str(public),
            "--stock", stocks["server"], "--dealer", for_server,
        )  # fmt: skip
        self.gateway = run(
            "gateway", "gateway", "--public", f"student={public}", "--stock", stocks["gateway"],
            "--sessions", str(SESSIONS), "--ready", "2",
            "--server", gateways_server, "--dealer", gateways_dealer,
        )  # fmt: skip
        directly = [str(public), str(certificates), stocks["client"], clients_server]
        command = [sys.executable, str(CLIENT_PROGRAM), *directly, clients_dealer]
        self.client = Party("client", command, folder / "client")
        self.parties = (self.dealer, self.server, self.gateway, self.client)
        self.url = f"http://127.0.0.1:{ports['gateway']}"

    def start(self) -> None:
        """Starts all four."""
        for party in self.parties:
            party.start()

    def stop(self) -> None:
        """Ends all four; what they noted stays."""
        for party in reversed(self.parties):
            party.stop()

    def close(self) -> None:
        """Takes the disks away, with what is on them."""
        for disk in self.disks.values():
            disk.close()
