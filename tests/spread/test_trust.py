"""Which clusters may be used, and what is said without Ray. Needs no Ray."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import Run

from veilform.errors import InputError
from veilform.spread import trust
from veilform.spread.cluster import Cluster


@pytest.fixture
def tls(tmp_path: Path) -> dict[str, str]:
    names = ("RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT")
    for name in names:
        (tmp_path / name).touch()
    return {"RAY_USE_TLS": "1"} | {name: str(tmp_path / name) for name in names}


def test_a_cluster_of_its_own_needs_nothing() -> None:
    trust.check("local", {})


@pytest.mark.parametrize("address", ["10.0.0.1:6379", "127.0.0.1:6379", "localhost:6379"])
@pytest.mark.parametrize("said", [{}, {"RAY_USE_TLS": "0"}, {"RAY_USE_TLS": ""}])
def test_an_address_without_tls_is_refused(address: str, said: dict[str, str]) -> None:
    with pytest.raises(InputError, match="not encrypted: set RAY_USE_TLS=1"):
        trust.check(address, said)


def test_an_address_with_tls(tls: dict[str, str]) -> None:
    trust.check("10.0.0.1:6379", tls)
    trust.check("10.0.0.1:6379", tls | {"RAY_USE_TLS": "true"})
    for name in tls.keys() - {"RAY_USE_TLS"}:
        with pytest.raises(InputError, match=f"{name} names no file"):
            trust.check("10.0.0.1:6379", tls | {name: "nowhere"})
        with pytest.raises(InputError, match=f"{name} names no file"):
            trust.check("10.0.0.1:6379", {k: v for k, v in tls.items() if k != name})


@pytest.mark.parametrize("address", ["auto", "ray://10.0.0.1:10001", "10.0.0.1", ""])
def test_no_other_address(address: str, tls: dict[str, str]) -> None:
    with pytest.raises(InputError, match="'local'"):
        trust.check(address, tls)


def test_the_commands_refuse_before_they_start(
    veilform: Run, tmp_path: Path, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_USE_TLS", raising=False)
    deal = ["deal", "--certificates", certificates, "--listen", "127.0.0.1:0"]
    for more in ([], ["--check"]):
        code, out, err = veilform(*deal, "--ray", "10.0.0.1:6379", *more)
        assert code == 2
        assert "RAY_USE_TLS=1" in " ".join((out + err).split())
    config = tmp_path / "deal.toml"
    config.write_text('ray = "10.0.0.1:6379"\n', encoding="utf-8")
    code, _, err = veilform(*deal, "--config", config)
    assert code == 2
    assert "ray: the Ray cluster at" in err
    evaluate = ["evaluate", "minilm-l6-sentiment", "--data", "no-data"]
    code, _, err = veilform(*evaluate, "--private", 1, "--ray", "10.0.0.1:6379")
    assert code == 2
    assert "RAY_USE_TLS=1" in err
    code, _, err = veilform(*evaluate, "--server", "127.0.0.1:7001")
    assert code == 2
    assert "--stock" in err


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"veilform\[ray\]"):
        Cluster("local")


def test_ray_is_loaded_when_it_is_used() -> None:
    program = (
        "import sys, veilform.cli, veilform.evaluation, veilform.spread.cluster, "
        "veilform.spread.dealing; sys.exit('ray' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
