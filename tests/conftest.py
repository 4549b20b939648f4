"""Models and certificates that tests of the services share."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from tests.checkpoints import make_tiny

from veilform.cli import app
from veilform.commands import console
from veilform.models.bert.sides import ServerSide, publish
from veilform.roles import Role
from veilform.transport import Identity, create_deployment

Run = Callable[..., tuple[int, str, str]]

# No test is timed: a machine may be busy.
settings.register_profile("untimed", parent=settings(), deadline=None)
settings.load_profile("untimed")


@pytest.fixture
def veilform(capsys: pytest.CaptureFixture[str]) -> Run:
    """The program in this process: exit code, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        strings = [str(each) for each in arguments]
        code = console.guarded(lambda: app(strings, standalone_mode=False, prog_name="veilform"))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated model: one layer, 32 positions."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return make_tiny(folder, calibrated=True, num_hidden_layers=1, max_position_embeddings=32)


@pytest.fixture(scope="session")
def other_tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the same shape with other weights."""
    folder = tmp_path_factory.mktemp("models") / "other"
    return make_tiny(
        folder, seed=1, calibrated=True, num_hidden_layers=1, max_position_embeddings=32
    )


@pytest.fixture(scope="session")
def narrow_tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose calibration expects far larger values than any text gives."""
    folder = tmp_path_factory.mktemp("models") / "narrow"
    make_tiny(folder, calibrated=True, num_hidden_layers=1, max_position_embeddings=32)
    path = folder / "calibration.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    for rows in content["layers"][0]["feedforward_variance"].values():
        rows.update(low=4.0, high=4.5)
    path.write_text(json.dumps(content), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tiny_side(tiny: Path) -> ServerSide:
    return ServerSide(tiny)


@pytest.fixture(scope="session")
def tiny_public(tiny_side: ServerSide, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("public") / "tiny"
    publish(tiny_side, folder)
    return folder


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates") / "deployment"
    create_deployment(folder)
    return folder


@pytest.fixture(scope="session")
def party_identities(certificates: Path) -> dict[Role, Identity]:
    return {role: Identity.load(certificates, role) for role in Role}


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
