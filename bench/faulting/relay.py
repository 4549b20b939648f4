"""A line between two parties that can be cut: connections through it break off on both sides."""

from __future__ import annotations

import contextlib
import socket
import threading

CHUNK = 1 << 16


class Relay:
    """Listens at a port of its own and carries bytes to ``target``, both ways."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> int:
        """Breaks off what is open; how many connections."""
        with self._lock:
            cut = list(self._open)
        for end in cut:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        return len(cut) // 2

    def _accept(self) -> None:
        while True:
            near, _ = self._listener.accept()
            try:
                far = socket.create_connection(("127.0.0.1", self._target), timeout=5.0)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            with self._lock:
                self._open |= {near, far}
            left = threading.Semaphore(0)
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, sink, left), daemon=True).start()
            threading.Thread(target=self._end, args=(near, far, left), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, left: threading.Semaphore) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        left.release()

    def _end(self, near: socket.socket, far: socket.socket, left: threading.Semaphore) -> None:
        left.acquire()
        left.acquire()
        with self._lock:
            self._open -= {near, far}
        near.close()
        far.close()
