"""Several server processes behind one address: one dies, and the service goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.serve.deployment import is_running, of_state

from veilform.errors import ConnectionFailed, InputError
from veilform.models.bert.sides import Shape
from veilform.models.text import TokenBatch
from veilform.roles import SERVER
from veilform.serve import workers
from veilform.serve.address import following
from veilform.serve.local import LocalService


def children(pid: int) -> set[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()  # each thread has those that it started
    return {int(each) for task in tasks for each in (task / "children").read_text().split()}


def within(seconds: float, reached: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture(scope="module")
def service(tiny: Path) -> Iterator[LocalService]:
    """One for all tests: each leaves it serving, but for the last."""
    with LocalService(tiny, workers=2) as running:
        yield running


def test_one_worker_dies_and_the_stocks_are_there(service: LocalService, batch: TokenBatch) -> None:
    shape, parent = Shape(*batch.ids.shape), service.pid(SERVER)
    first = children(parent)
    assert len(first) == 2
    with service.client() as client:
        for _ in range(3):
            client.prepare(shape)
        client.infer(batch)
        left, right = first
        os.kill(left, signal.SIGKILL)
        assert within(5, lambda: left not in children(parent))
        # Its connection went with it, or it was the other's.
        with contextlib.suppress(ConnectionFailed):
            client.infer(batch)
    used = set(of_state(service.folder / "server-stock", "used"))
    with service.client() as client:  # whoever answers finds them
        for _ in range(client.ready(shape)):
            client.infer(batch)
    assert within(30, lambda: len(children(parent)) == 2)
    assert right in children(parent)
    assert used < set(of_state(service.folder / "server-stock", "used"))
    assert of_state(service.folder / "server-stock", "fresh") == []


def test_all_workers_die(service: LocalService, batch: TokenBatch) -> None:
    """Who connects meanwhile waits for the next one."""
    parent = service.pid(SERVER)
    for pid in children(parent):
        os.kill(pid, signal.SIGKILL)
    with service.client() as client:
        client.infer(batch)


def test_workers_end_on_a_signal(tiny: Path) -> None:
    with LocalService(tiny, workers=2) as service:
        pids = {service.pid(SERVER), *children(service.pid(SERVER))}
        assert len(pids) == 3
    assert within(10, lambda: not any(map(is_running, pids)))


def test_workers_end_with_a_parent_that_is_killed(service: LocalService) -> None:
    parent = service.pid(SERVER)
    pids = children(parent)
    os.kill(parent, signal.SIGKILL)
    assert within(10, lambda: not any(map(is_running, pids)))


def test_a_worker_that_cannot_start(tmp_path: Path) -> None:
    running = workers.Workers(["serve", str(tmp_path / "none"), "--listen", "x"], 2, 0)
    with pytest.raises(InputError, match="worker 0 did not start"):
        running.start()
    assert running.pids == {} or not any(map(is_running, running.pids.values()))


def test_each_worker_has_a_port_for_metrics() -> None:
    assert following("127.0.0.1:9000", 2) == "127.0.0.1:9002"
    assert following("[::1]:9000", 1) == "[::1]:9001"
    assert following("127.0.0.1:0", 3) == "127.0.0.1:0"
    with pytest.raises(InputError):
        following("127.0.0.1:65535", 1)
