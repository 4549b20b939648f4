"""``--check``: what is right, what is wrong, and that nothing is started."""

from __future__ import annotations

import datetime as dt
import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from veilform.keys import Keys
from veilform.roles import CLIENT, DEALER, SERVER, Role
from veilform.settings import GatewaySettings
from veilform.settings.checking import check
from veilform.transport import Identity, Listener


@pytest.fixture
def parties(tmp_path: Path) -> Path:
    keys = Keys.init(tmp_path / "authority")
    long_ago = dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=80)
    for role in Role:
        start = long_ago if role is DEALER else None
        keys.issue(role, role.value, tmp_path / role.value, start=start)
    return tmp_path


def found(output: str) -> dict[str, tuple[str, str]]:
    return {row["what"]: (row["state"], row["text"]) for row in json.loads(output)["findings"]}


def serve(folder: Path, tiny: Path, dealer: str = "127.0.0.1:1") -> list[object]:
    return [
        "serve", tiny, "--certificates", folder / "server", "--dealer", dealer,
        "--stock", folder / "stock", "--listen", "127.0.0.1:0", "--check", "--json",
    ]  # fmt: skip


def test_a_server_that_is_right(veilform: Any, parties: Path, tiny: Path) -> None:
    code, out, _ = veilform(*serve(parties, tiny))
    assert code == 0, out
    assert json.loads(out)["ready"]
    rows = found(out)
    assert {state for state, _ in rows.values()} <= {"right", "warning"}
    assert rows["model tiny 1"][1].endswith("servable, texts of up to 32 tokens")
    assert not (parties / "stock").exists()


def test_a_dealer_whose_certificate_ends_soon(veilform: Any, parties: Path) -> None:
    options = ["--certificates", parties / "dealer", "--listen", "127.0.0.1:0", "--check"]
    code, out, _ = veilform("deal", *options)
    assert code == 0
    assert "in 9 days" in " ".join(out.split())


def test_everything_that_is_wrong(
    veilform: Any, parties: Path, tiny: Path, tmp_path: Path, closed_port: int
) -> None:
    (parties / "stock").mkdir()
    (parties / "stock").chmod(0o777)
    (tmp_path / "empty").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = tmp_path / "serve.toml"
        config.write_text(
            f'certificates = "client"\ndealer = "127.0.0.1:{closed_port}"\nstock = "stock"\n'
            f'listen = "127.0.0.1:{taken.getsockname()[1]}"\n[[model]]\npath = "empty"\n'
            f'[[model]]\npath = "{tiny}"\n'
        )
        code, out, _ = veilform("serve", "--config", config, "--check", "--connect", "--json")
    assert code == 2
    rows = found(out)
    for what, says in (
        ("certificates", "server"),
        ("port", "address already in use"),
        ("stock folder", "open to other users"),
        ("model empty 1", "config.json"),
        ("the dealer", ""),
    ):
        assert rows[what][0] == "wrong"
        assert says in rows[what][1]
    assert rows["model tiny 1"][0] == "right"
    code, out, _ = veilform("serve", "--certificates", "gone", "--check", "--json")
    assert code == 2
    assert len(json.loads(out)["findings"]) == 4


def test_a_server_reaches_its_dealer(veilform: Any, parties: Path, tiny: Path) -> None:
    with Listener("127.0.0.1", 0, Identity.load(parties / "dealer", DEALER)) as listener:

        def let_in() -> None:
            listener.accept({SERVER}, 60.0)[0].close()

        welcome = threading.Thread(target=let_in)
        welcome.start()
        code, out, _ = veilform(*serve(parties, tiny, f"127.0.0.1:{listener.port}"), "--connect")
        welcome.join()
    assert code == 0
    assert found(out)["the dealer"][0] == "right"


def test_a_gateway(parties: Path, tiny_public: Path, closed_port: int) -> None:
    flags = {
        "certificates": parties / "client", "stock": parties / "stock", "listen": "127.0.0.1:0",
        "server": f"127.0.0.1:{closed_port}", "dealer": f"127.0.0.1:{closed_port}",
        "model": tiny_public,
    }  # fmt: skip
    assert Identity.load(parties, CLIENT)
    states = {each.what: each.state for each in check(GatewaySettings, None, {}, flags)}
    assert states.pop("stock disk") in ("right", "warning")
    assert set(states.values()) == {"right"}
    found_now = list(check(GatewaySettings, None, {}, flags, reach=True))
    assert sum("cannot reach" in each.text for each in found_now) == 3
