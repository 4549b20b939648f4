"""`veilform bench inference`: real processes, and figures that agree with the trace."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from veilform.bench.inference import Setting, measure
from veilform.bench.plain import Plain
from veilform.errors import InputError
from veilform.models.bert.plain import PlainBert
from veilform.models.bert.sides import ServerSide, Shape
from veilform.models.text import TextEncoder
from veilform.plan import random_model
from veilform.plan.cost import Report
from veilform.plan.presets import PRESETS, ModelShape, preset
from veilform.plan.random_model import random_texts, write_model
from veilform.transport import LAN

TINY = ModelShape("tiny", layers=1, hidden=32, heads=2, inner=64, pooling="mean")
FIELDS = {
    "shape", "seq", "layers", "link", "online_seconds", "offline_seconds", "plain_seconds",
    "bytes_client_to_server", "bytes_server_to_client", "offline_bytes", "messages", "peak_rss_mb",
}  # fmt: skip


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "veilform", "bench", "inference", *arguments]


def test_the_json_has_its_fields_and_the_bytes_of_the_trace(tmp_path: Path) -> None:
    arguments = ("--shape", "minilm-l6", "--layers", "1", "--seq", "16", "--runs", "1", "--json")
    done = subprocess.run(command(*arguments), capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout)
    assert set(figures) >= FIELDS
    assert (figures["shape"], figures["layers"], figures["seq"]) == ("minilm-l6", 1, 16)
    assert figures["link"] == "loopback"
    write_model(tmp_path / "model", preset("minilm-l6").with_layers(1), 16)
    expected = Report(ServerSide(tmp_path / "model").trace(Shape(1, 16))).as_dict()
    for name in ("bytes_client_to_server", "bytes_server_to_client", "messages", "offline_bytes"):
        assert figures[name] == expected[name], name
    for name in ("online_seconds", "offline_seconds", "plain_seconds"):
        assert 0 < figures[name] < 10
    assert set(figures["peak_rss_mb"]) == {"client", "server", "dealer"}
    if sys.platform == "linux":
        assert all(20 < peak < 2000 for peak in figures["peak_rss_mb"].values())


def test_a_link_delays_every_message() -> None:
    figures = measure(Setting(TINY, seq=10, batch=3, link="lan", runs=1), plain="numpy")
    assert figures["online_seconds"] >= figures["messages"] * LAN.round_trip_s / 2
    assert (figures["padded"], figures["batch"]) == (16, 3)
    assert figures["plain_backend"] == "numpy"


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_an_interrupt_ends_every_process_and_removes_the_folder(tmp_path: Path) -> None:
    arguments = ("--layers", "1", "--seq", "16", "--runs", "100000", "--json")
    process = subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        start_new_session=True,
    )
    while len(members(process.pid)) < 4:  # itself, dealer, server, client
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal's Ctrl-C does
    out, err = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGINT
    assert (out, err) == (b"", b"error: interrupted\n")
    assert not members(process.pid)
    assert not list(tmp_path.iterdir())


def members(session: int) -> list[int]:
    """Processes of a session that run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


@pytest.mark.parametrize("name", PRESETS)
def test_every_shape_can_be_served(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random_model, "CALIBRATION_TOKENS", 64)
    write_model(tmp_path / "model", preset(name).with_layers(1), 20)
    side = ServerSide(tmp_path / "model")
    assert side.calibrated == 32
    assert side.config.num_hidden_layers == 1


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_the_plain_models_agree(pooling: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    write_model(tmp_path / "m", ModelShape("tiny", 2, 32, 2, 64, pooling), 12)
    encoder = TextEncoder.from_folder(tmp_path / "m")
    batch = encoder.pad(encoder.encode(random_texts(2, 12, seed=5)))
    numpy, torch = Plain(tmp_path / "m", "numpy"), Plain(tmp_path / "m", "torch")
    answers: dict[str, list[Any]] = {}
    for kind in ("_student", "_exact"):
        answers[kind] = [
            getattr(plain, kind).forward(batch.ids, batch.mask, batch.types)
            for plain in (numpy, torch)
        ]
        np.testing.assert_allclose(*answers[kind], atol=1e-5)
    assert np.abs(answers["_student"][0] - answers["_exact"][0]).max() > 1e-3


def test_texts_have_their_tokens(tmp_path: Path) -> None:
    write_model(tmp_path / "m", TINY, 16)
    encoder = TextEncoder.from_folder(tmp_path / "m")
    assert {len(ids) for ids in encoder.encode(random_texts(4, 16, seed=1))} == {16}
    assert np.isfinite(PlainBert.load(tmp_path / "m").params["classifier.weight"]).all()


@pytest.mark.parametrize(
    "wrong",
    [{"link": "tin"}, {"batch": 0}, {"batch": 65}, {"runs": 0}],
)
def test_settings_that_cannot_be_measured(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Setting(TINY, 16, **wrong)
    with pytest.raises(InputError):
        preset("bert-huge")
    with pytest.raises(InputError):
        random_texts(1, 2, seed=0)
