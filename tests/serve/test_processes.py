"""Real processes that are killed: the others end with a clear error, and use nothing twice."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.serve.deployment import fresh, is_running, used

from veilform.errors import ConnectionFailed, VeilformError
from veilform.models.bert.sides import Shape
from veilform.models.text import TokenBatch
from veilform.roles import SERVER
from veilform.serve.local import LocalService

ROOT = Path(__file__).parents[2]


@pytest.fixture
def service(tiny: Path) -> Iterator[LocalService]:
    with LocalService(tiny) as running:
        pids = [child.pid for child in running._children]
        yield running
    assert not any(map(is_running, pids))
    assert not running.folder.exists()


def pid_of(service: LocalService, index: int) -> int:
    return service._children[index].pid


def gone_within(seconds: float, *pids: int) -> bool:
    deadline = time.monotonic() + seconds
    while any(map(is_running, pids)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_the_server_is_killed_in_a_run(service: LocalService, batch: TokenBatch) -> None:
    with service.client() as client:
        genuine, count = client._server.open_data, iter(range(99))

        def open_data(*limits: Any, **options: Any) -> Any:
            if next(count) == 3:
                os.kill(pid_of(service, 1), signal.SIGKILL)
            return genuine(*limits, **options)

        client._server.open_data = open_data  # type: ignore[method-assign]
        start = time.monotonic()
        with pytest.raises(ConnectionFailed, match="the server"):
            client.infer(batch)
        assert time.monotonic() - start < 5
        (name,) = used(service.folder / "client-stock")
        assert used(service.folder / "server-stock") == [name]
        assert not fresh(service.folder / "client-stock")
        assert not fresh(service.folder / "server-stock")
        with pytest.raises(VeilformError):  # again, rather than for ever
            client.infer(batch)
    assert is_running(pid_of(service, 0))


def test_the_dealer_is_killed_while_it_deals(service: LocalService, batch: TokenBatch) -> None:
    shape = Shape(*batch.ids.shape)
    with service.client() as client:
        client.infer(batch)
        dealer = pid_of(service, 0)
        os.kill(dealer, signal.SIGSTOP)  # it takes the order, and no more
        threading.Timer(0.3, os.kill, (dealer, signal.SIGKILL)).start()
        start = time.monotonic()
        with pytest.raises(ConnectionFailed, match="the dealer"):
            client.prepare(shape)
        assert time.monotonic() - start < 5
        assert not fresh(service.folder / "client-stock")
    service._children[0].wait(5)
    # The server lives, and says what is missing.
    with pytest.raises(VeilformError, match=r"cannot reach the dealer|server has no dealer"):
        service.client()
    assert is_running(pid_of(service, 1))


CLIENT = """
import os, signal, sys
from pathlib import Path
from veilform.pipeline import SecureClassifier
from veilform.serve.remote import remote_client
public, server, dealer, certificates, stock = sys.argv[1:]
client = remote_client(Path(public), server, dealer, Path(certificates), Path(stock))
genuine, count = client._server.begin_data, iter(range(99))
def begin_data(size):
    if next(count) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return genuine(size)
client._server.begin_data = begin_data
SecureClassifier(client)(["a good film"])
"""


def test_a_client_is_killed_in_a_run(
    service: LocalService, batch: TokenBatch, tmp_path: Path
) -> None:
    addresses = ["{}:{}".format(*service.server), "{}:{}".format(*service.dealer)]
    stock = tmp_path / "stock"
    command = [sys.executable, "-c", CLIENT, str(service.public), *addresses]
    killed = subprocess.run([*command, str(service.certificates), str(stock)], cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    (name,) = used(stock)
    assert not fresh(stock)
    with service.client() as client:
        client.infer(batch)
    assert name in used(service.folder / "server-stock")
    assert not fresh(service.folder / "server-stock")


def test_stocks_outlive_a_server_that_is_killed(
    service: LocalService, tiny: Path, batch: TokenBatch
) -> None:
    """Its next process has the same P, and what its folder says fresh is whole."""
    shape = Shape(*batch.ids.shape)
    with service.client() as client:
        for _ in range(2):
            client.prepare(shape)
        os.kill(pid_of(service, 1), signal.SIGKILL)
        service._children[1].wait(5)
    options = ["--dealer", "{}:{}".format(*service.dealer)]
    options += ["--stock", str(service.folder / "server-stock")]
    service.server = service._start(SERVER, [str(tiny), *options])
    with service.client() as client:
        assert client.ready(shape) == 2
        client.infer(batch)
        assert client.ready(shape) == 1
    assert len(used(service.folder / "server-stock")) == 1


PARENT = """
import sys, time
from pathlib import Path
from veilform.serve.local import LocalService
service = LocalService(Path(sys.argv[1]))
print(*(child.pid for child in service._children), flush=True)
time.sleep(60)
"""


def test_children_end_with_a_parent_that_is_killed(tiny: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tiny)]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        children = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(children) == 2
        assert all(map(is_running, children))
        parent.kill()
    assert gone_within(5, *children)
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_services_end_on_a_signal(tiny: Path, batch: TokenBatch, number: int) -> None:
    """With a client connected; within two seconds; with code 0; server first, then dealer."""
    with LocalService(tiny) as service, service.client() as client:
        client.prepare(Shape(*batch.ids.shape))
        for child in reversed(service._children):
            start = time.monotonic()
            child.send_signal(number)
            assert child.wait(5) == 0
            assert time.monotonic() - start < 2


def test_a_server_ends_on_a_signal_while_its_dealer_is_stopped(tiny: Path) -> None:
    with LocalService(tiny) as service:
        dealer, server = service._children
        dealer.send_signal(signal.SIGSTOP)
        waiting = threading.Thread(target=lambda: _ignoring(service.client))
        waiting.start()
        time.sleep(0.3)
        start = time.monotonic()
        server.send_signal(signal.SIGTERM)
        assert server.wait(5) == 0
        assert time.monotonic() - start < 2.5
        dealer.send_signal(signal.SIGCONT)
        waiting.join(15)
        assert not waiting.is_alive()


def _ignoring(call: Callable[[], object]) -> None:
    with contextlib.suppress(VeilformError):
        call()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("until", ["veilform-*", "veilform-*/*-stock/*.stock"])
def test_an_interrupted_demo_leaves_nothing(
    tiny: Path, tmp_path: Path, number: int, until: str
) -> None:
    """Early, while the service starts, and later, while texts are classified."""
    texts = [part for _ in range(500) for part in ("--text", "a good film")]
    command = [sys.executable, "-m", "veilform", "demo", "--model", str(tiny), *texts]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as demo:
        deadline = time.monotonic() + 30
        while not list(tmp_path.glob(until)):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        children = descendants(demo.pid)
        demo.send_signal(number)
        said = demo.communicate(timeout=10)
    assert said == ("", "error: interrupted\n" if number == signal.SIGINT else "")
    assert demo.returncode == 128 + number
    assert gone_within(3, *children)
    assert not list(tmp_path.iterdir())


def descendants(pid: int) -> list[int]:
    try:
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [int(each) for each in below] + [d for each in below for d in descendants(int(each))]


def test_a_service_that_cannot_start(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["Other"]}))
    with pytest.raises(VeilformError, match="the server did not start: ") as error:
        LocalService(tmp_path)
    assert "\n" not in str(error.value)
