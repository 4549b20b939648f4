"""The client as a process of its own that runs an inference when told to.

It reads a JSON list of texts a line, runs them as one batch, and writes what that cost as one JSON
line; it ends when its input does. The first line that it writes says that it is connected.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from veilform.closing import Closing
from veilform.errors import VeilformError, of_exit_code
from veilform.serve.client import Client

CONNECTED = "connected"
STOP_S = 10.0


def answer(client: Client, lines: Iterable[str], write: Callable[[str], None]) -> None:
    """The loop of the client's process: one inference a line, until there are no more lines."""
    write(CONNECTED)
    encoder = client.side.encoder
    for line in lines:
        batch = encoder.pad(encoder.encode(json.loads(line)))
        _, cost = client.infer(batch)
        write(json.dumps(cost._asdict()))


class ClientProcess(Closing):
    """A client in a process of its own, connected to a running service.

    Args:
        public, certificates, stock: the client's folders.
        server, dealer: their addresses, as host and port.
        within: a command that runs another one, put before the client's.

    Raises:
        VeilformError: it does not start; what it said is in the message.
    """

    def __init__(
        self,
        public: Path,
        certificates: Path,
        stock: Path,
        server: tuple[str, int],
        dealer: tuple[str, int],
        *,
        link: str = "loopback",
        within: Sequence[str] = (),
    ) -> None:
        command = [*within, sys.executable, "-m", "veilform", "bench", "client", str(public)]
        command += ["--certificates", str(certificates), "--stock", str(stock), "--link", link]
        command += ["--server", "{}:{}".format(*server), "--dealer", "{}:{}".format(*dealer)]
        self._process = subprocess.Popen(  # noqa: S603 - our own program, no shell
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def infer(self, texts: Sequence[str]) -> dict[str, Any]:
        """What one inference cost, as the fields of `InferenceCost`.

        Raises:
            VeilformError: it failed; what the client said is in the message.
        """
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # what it said is read below
            self._process.stdin.write(json.dumps(list(texts)) + "\n")
            self._process.stdin.flush()
        cost: dict[str, Any] = json.loads(self._read())
        return cost

    def close(self) -> None:
        """Ends the process. May be called again."""
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            return line
        _, complaint = self._process.communicate()
        reason = complaint.strip().removeprefix("error: ")
        failed: type[VeilformError] = of_exit_code(self._process.returncode)
        raise failed(f"the client ended: {reason or f'with code {self._process.returncode}'}")
