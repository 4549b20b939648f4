"""Several processes behind one address: who accepts a connection, serves it.

All share one listening socket, which this process holds and passes on, and one stock folder, whose
ledger lets one process have a stock. So a client finds its stocks at whichever answers. A worker
that dies takes its connections with it, and is replaced; what it had not accepted, another does.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from veilform.errors import of_exit_code
from veilform.serve.local import READY

log = logging.getLogger("veilform")

AGAIN_S, MOST_AGAIN_S = 1.0, 30.0
"""A worker that died is replaced after this time; after twice as much, and so on up to the second,
if it did not last that long."""


class Workers:
    """Runs ``count`` processes of one command until stopped.

    Args:
        command: what each runs, as arguments of `veilform`; ``--worker NUMBER SOCKET`` is added.
        socket: the descriptor that they listen at.
    """

    def __init__(self, command: Sequence[str], count: int, socket: int) -> None:
        self._command = [sys.executable, "-m", "veilform", *command]
        self._count, self._socket = count, socket
        self._running: dict[int, subprocess.Popen[str]] = {}
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._ending = threading.Event()

    @property
    def pids(self) -> dict[int, int]:
        """Of the workers, by number."""
        with self._lock:
            return {number: each.pid for number, each in self._running.items()}

    def start(self) -> None:
        """Starts all, one after the other: the first prepares what the others find.

        Raises:
            VeilformError: one does not start; it has said why.
        """
        for number in range(self._count):
            worker = self._begin(number)
            if not _is_ready(worker):
                code = worker.wait()
                _close(worker)
                self.stop()
                self.join()
                raise of_exit_code(code)(f"worker {number} did not start")
            thread = threading.Thread(target=self._keep, args=(number, worker), daemon=True)
            self._threads.append(thread)
            thread.start()

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to each."""
        with self._lock:
            for worker in self._running.values():
                worker.send_signal(number)

    def stop(self, patience_s: float = 0.0) -> None:
        """Has each end, as its own settings say; called again, at once."""
        del patience_s  # each has its own, and counts it itself
        self._ending.set()
        self.signal(signal.SIGTERM)

    def join(self) -> None:
        """Waits until `stop` was called and all have ended."""
        self._ending.wait()
        for thread in self._threads:
            thread.join()

    def _begin(self, number: int) -> subprocess.Popen[str]:
        worker = subprocess.Popen(  # noqa: S603 - our own program, no shell
            [*self._command, "--worker", str(number), str(self._socket), "--until-stdin-closes"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[self._socket],
            start_new_session=True,  # Ctrl-C is for this process, which passes it on
            text=True,
        )
        with self._lock:
            self._running[number] = worker
            if self._ending.is_set():
                worker.terminate()
        return worker

    def _keep(self, number: int, worker: subprocess.Popen[str]) -> None:
        """Waits for a worker's end, and replaces it."""
        again_s = AGAIN_S
        while True:
            since = time.monotonic()
            worker.wait()
            _close(worker)
            if time.monotonic() - since > MOST_AGAIN_S:
                again_s = AGAIN_S
            if self._ending.is_set():
                return
            log.error("worker %d ended with code %s; another begins", number, worker.returncode)
            if self._ending.wait(again_s):
                return
            again_s = min(2 * again_s, MOST_AGAIN_S)
            worker = self._begin(number)
            if _is_ready(worker):
                log.info("worker %d serves again", number)


def _is_ready(worker: subprocess.Popen[str]) -> bool:
    """Waits until it listens; False if it ended."""
    assert worker.stdout is not None
    return worker.stdout.readline().startswith(READY)


def _close(worker: subprocess.Popen[str]) -> None:
    for pipe in (worker.stdin, worker.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
