"""The command line: what it refuses to do, and a gateway as a process of its own."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.serve.deployment import Deployment

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def arguments(deployed: Deployment, certificates: Path, tmp_path: Path) -> list[str]:
    server, dealer = deployed._server_listener.port, deployed._dealer_listener.port
    return [
        "gateway", "--public", f"tiny={deployed.public}", "--server", f"127.0.0.1:{server}",
        "--dealer", f"127.0.0.1:{dealer}", "--certificates", str(certificates),
        "--stock", str(tmp_path / "stock"),
    ]  # fmt: skip


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
