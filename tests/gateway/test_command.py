"""The command line: what it refuses to do, and a gateway as a process of its own."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.serve.deployment import Deployment

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def arguments(deployed: Deployment, certificates: Path, tmp_path: Path) -> list[str]:
    public, *options = deployed.options(certificates, tmp_path / "stock")
    return ["gateway", "--public", f"tiny={public}", *map(str, options)]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--listen", "0.0.0.0:0"], "can be reached from other machines"),
        (["--listen", "[::]:0"], "can be reached from other machines"),
        (["--listen", "example.org:80"], "can be reached from other machines"),
        (["--listen", "0.0.0.0:0", "--allow-remote"], "needs a token"),
        (["--listen", "nowhere"], "is no host:port"),
        (["--public", "tiny"], "is no NAME=FOLDER"),
        (["--public", "tiny=/nowhere"], "there is no folder"),
        (["--public", "../tiny=."], "--public"),
        (["--token-file", "/nowhere"], "cannot be read as a token"),
    ],
)
def test_what_it_refuses(veilform: Run, arguments: list[str], more: list[str], reason: str) -> None:
    code, _, complaint = veilform(*arguments, "--listen", "127.0.0.1:0", *more)
    assert code in (2, 3)
    assert reason in complaint


def test_a_short_token(veilform: Run, arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret")
    code, _, complaint = veilform(*arguments, "--token-file", tmp_path / "token")
    assert code == 2
    assert "16 ASCII characters" in complaint
    assert "secret" not in complaint


def asked(port: int, path: str, body: Any = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        sent = None if body is None else json.dumps(body)
        connection.request(
            "GET" if body is None else "POST", path, sent, {"Content-Type": "application/json"}
        )
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def told(child: subprocess.Popen[str], of: str) -> str:
    """The next line of its log with these words that is no success."""
    assert child.stderr is not None
    return next(line for line in child.stderr if of in line and "read again" not in line)


def test_models_are_read_again_at_a_hangup(
    deployed: Deployment, certificates: Path, tmp_path: Path
) -> None:
    """New ones come, old ones go, those that stay go on; a mistake changes nothing."""
    settings = tmp_path / "gateway.toml"

    def offer(*versions: str, folder: Path = deployed.public) -> None:
        tables = [
            f"[[model]]\nname = 'tiny'\nversion = '{each}'\npath = '{folder}'\n"
            for each in versions
        ]
        settings.write_text(
            f"server = '{deployed.server_address}'\ndealer = '{deployed.dealer_address}'\n"
            f"ready = 0\ncertificates = '{certificates}'\nstock = '{tmp_path / 'stock'}'\n"
            f"listen = '127.0.0.1:0'\nsessions = 1\n" + "".join(tables)
        )

    offer("1")
    child = subprocess.Popen(
        [sys.executable, "-m", "veilform", "gateway", "--config", str(settings),
         "--until-stdin-closes"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    try:
        port = int(child.stdout.readline().strip().rpartition(":")[2])

        def offered() -> set[str]:
            return {each["version"] for each in asked(port, "/models")[1]["models"]}

        def become(*versions: str) -> bool:
            deadline = time.monotonic() + 20
            while offered() != set(versions):
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.05)
            return True

        text = {"text": "the film was good"}
        assert asked(port, "/classify", text)[0] == 200
        offer("1", "2")
        child.send_signal(signal.SIGHUP)
        assert become("1", "2")
        assert asked(port, "/classify", text | {"model": "tiny", "version": "2"})[0] == 200
        settings.write_text("nonsense = 1\n")
        child.send_signal(signal.SIGHUP)
        assert "stay as they were" in told(child, "the models")
        assert offered() == {"1", "2"}
        offer("2")
        child.send_signal(signal.SIGHUP)
        assert become("2")
        assert asked(port, "/classify", text | {"model": "tiny", "version": "1"})[0] == 404
        assert asked(port, "/classify", text)[0] == 200
    finally:
        said = child.communicate(timeout=20)[1]
    assert child.returncode == 0, said


def test_a_process_that_answers_and_ends(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "veilform", *arguments, "--listen", "127.0.0.1:0"]
    child = subprocess.Popen(
        [*command, "--until-stdin-closes"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    try:
        line = child.stdout.readline().strip()
        assert line.startswith("listening at 127.0.0.1:"), child.communicate()[1]
        connection = http.client.HTTPConnection("127.0.0.1", int(line.rpartition(":")[2]), 60)
        body = json.dumps({"text": "the film was good"})
        connection.request("POST", "/classify", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert (answer.status, len(json.loads(answer.read())["results"])) == (200, 1)
        connection.close()
    finally:
        said = child.communicate(timeout=20)[1]
    assert child.returncode == 0
    assert "film" not in said
