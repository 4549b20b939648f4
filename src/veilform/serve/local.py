"""A whole service on this machine: dealer and server as processes, with fresh certificates.

For the demo, for trying a model out, and for tests. Everything lives in one private temporary
folder, which goes when the service is closed. The children watch their standard input, so they end
with the process that started them, in whatever way that ends; only after a kill does the folder
stay.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from veilform.closing import Closing
from veilform.correlation.store import StockStore
from veilform.errors import of_exit_code
from veilform.models import families
from veilform.roles import CLIENT, DEALER, SERVER, Role
from veilform.serve.client import Client
from veilform.transport import Identity, connect, create_deployment
from veilform.transport.links import named

START_S = 120.0
STOP_S = 5.0
READY = "listening at "


class LocalService(Closing):
    """A running dealer and server.

    Args:
        workers: processes that serve.
        link: the name of a link that shapes all that the three parties send each other.
        host: where both listen.
        within: a command that runs another one, put before theirs, such as ``ip netns exec NAME``.
        start_s: the longest wait for either to start.
        progress: told what is being done.

    Attributes:
        folder: the temporary folder; ``public`` in it is what the client may hold.
        server, dealer: their addresses, as host and port.

    Raises:
        VeilformError: when one does not start; what it said is in the message.
    """

    def __init__(
        self,
        model: Path,
        *,
        private_embedding: bool = False,
        workers: int = 1,
        link: str = "loopback",
        host: str = "127.0.0.1",
        within: Sequence[str] = (),
        start_s: float = START_S,
        progress: Callable[[str], None] = lambda step: None,
    ) -> None:
        self._link = named(link)
        self._launcher = [*within, sys.executable, "-m", "veilform"]
        self._listening = ["--listen", f"{host}:0", "--link", link]
        self._start_s = start_s
        self._children: list[subprocess.Popen[str]] = []
        self._pids: dict[Role, int] = {}
        self._temporary = tempfile.TemporaryDirectory(prefix="veilform-")
        self.folder = Path(self._temporary.name)
        self.public = self.folder / "public"
        self.certificates = self.folder / "certificates"
        try:
            progress("making certificates")
            create_deployment(self.certificates, days=2)
            progress("starting the dealer")
            self.dealer = self._start(DEALER, [])
            progress("starting the server: reading, checking and masking the model")
            options = ["--dealer", "{}:{}".format(*self.dealer), "--publish", str(self.public)]
            options += ["--stock", str(self.folder / "server-stock")]
            options += ["--private-embedding"] if private_embedding else []
            options += ["--workers", str(workers)] if workers > 1 else []
            self.server = self._start(SERVER, [str(model), *options])
        except BaseException:
            self.close()
            raise

    def client(self) -> Client:
        """A client in this process, with the public folder alone."""
        identity = Identity.load(self.certificates, CLIENT)
        return Client(
            families.client_side(self.public),
            StockStore(self.folder / "client-stock", CLIENT),
            lambda: connect(*self.server, identity, SERVER, link=self._link),
            lambda: connect(*self.dealer, identity, DEALER, link=self._link),
        )

    def pid(self, role: Role) -> int:
        """The process that runs ``role``: the server or the dealer."""
        return self._pids[role]

    def close(self) -> None:
        """Ends both processes and removes the folder. May be called again."""
        for child in self._children:
            if child.stdin is not None:
                with contextlib.suppress(OSError):
                    child.stdin.close()
            child.terminate()
        for child in self._children:
            try:
                child.wait(STOP_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            for stream in (child.stdout, child.stderr):
                if stream is not None:
                    stream.close()
        self._children.clear()
        self._temporary.cleanup()

    def _start(self, role: Role, arguments: list[str]) -> tuple[str, int]:
        command = [*self._launcher, role.command, *arguments, *self._listening]
        command += ["--certificates", str(self.certificates), "--until-stdin-closes"]
        child = subprocess.Popen(  # noqa: S603 - our own program, no shell
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._children.append(child)
        self._pids[role] = child.pid
        # A child that hangs while it starts is ended, which ends the reading below.
        timer = threading.Timer(self._start_s, child.kill)
        # A signal may strike before the try below: the thread must not outlive the program.
        timer.daemon = True
        timer.start()
        try:
            assert child.stdout is not None
            line = child.stdout.readline()
        finally:
            timer.cancel()
        if not line.startswith(READY):
            child.kill()
            _, complaint = child.communicate()
            reason = (
                complaint.strip().removeprefix("error: ")
                or f"it ended with code {child.returncode}"
            )
            failed = of_exit_code(child.returncode)
            raise failed(f"the {role.value} did not start: {reason}")
        threading.Thread(target=_drain, args=(child,), daemon=True).start()
        host, _, port = line.strip().removeprefix(READY).rpartition(":")
        return host, int(port)


def _drain(child: subprocess.Popen[str]) -> None:
    """Reads what a child logs, so that it never waits for a reader."""
    assert child.stderr is not None
    with contextlib.suppress(ValueError, OSError):
        for _ in child.stderr:
            pass
