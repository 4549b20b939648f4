"""One party as a process that can be killed and started again where it was."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
from pathlib import Path

from faulting.clock import Clock
from veilform.serve.local import READY

START_S = 60.0


class NotStarted(Exception):
    """A party did not begin to listen. The text is what it said last."""


class Party:
    """A process, at one port and on one folder however often it is started, and its wall clock.

    Attributes:
        name: what the table calls it.
        clock: the process goes by it.
    """

    def __init__(self, name: str, command: list[str], folder: Path) -> None:
        self.name, self._command, self._said = name, command, folder / "said"
        folder.mkdir(parents=True)
        self.clock = Clock(folder)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str | None] = queue.Queue()

    def start(self) -> None:
        """Starts it, and waits until it listens.

        Raises:
            NotStarted: it does not.
        """
        with self._lock, self._said.open("a") as said:
            process = self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said,
                text=True, bufsize=1, env=os.environ | self.clock.environment,
            )  # fmt: skip
            lines = self._lines = queue.Queue()
        threading.Thread(target=_read, args=(process, lines), daemon=True).start()
        line: str | None = None
        with contextlib.suppress(queue.Empty):
            line = lines.get(timeout=START_S)
        if line is None or not line.startswith(READY):
            process.kill()
            raise NotStarted(f"{self.name} did not start: {self._said.read_text()[-1000:]}")

    def kill(self) -> None:
        """Ends it at once (SIGKILL)."""
        with self._lock:
            if self._process is not None:
                self._process.kill()
                self._process.wait()

    def stop(self) -> None:
        """Asks it to end; kills it if it does not."""
        if self.alive:
            assert self._process is not None
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(15)
        self.kill()

    def ask(self, line: str, timeout_s: float) -> str | None:
        """Writes a line to it; the line that it answers, or None if it was killed before.

        Raises:
            TimeoutError: neither in that time.
        """
        with self._lock:
            process, lines = self._process, self._lines
        assert process is not None
        assert process.stdin is not None
        try:
            process.stdin.write(line + "\n")
            process.stdin.flush()
            return lines.get(timeout=timeout_s)
        except OSError:
            return None
        except queue.Empty:
            raise TimeoutError from None

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of the process that runs now."""
        assert self._process is not None
        return self._process.pid


def _read(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    """Passes on what a process prints, and None at its end."""
    assert process.stdout is not None
    with contextlib.suppress(ValueError, OSError):
        for line in process.stdout:
            lines.put(line)
    lines.put(None)
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        with contextlib.suppress(OSError):
            pipe.close()
