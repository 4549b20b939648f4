"""The faults: one of each kind, and that what proves a stock's single use would notice another."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.progress import Progress
from tests.correlation.test_store import MANIFEST, put
from tests.scripts import load

from veilform.correlation.store import StockStore
from veilform.roles import SERVER

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
faults = load("faults")
from faulting import asking, audit, figures, witness  # noqa: E402 - beside faults.py
from faulting.clock import Clock  # noqa: E402 - beside faults.py
from faulting.disk import Disk  # noqa: E402 - beside faults.py

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks the kernel as on Linux"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="a clock is a C library"),
]


def test_one_fault_of_each_kind(tmp_path: Path) -> None:
    kinds = list(faults.KINDS)
    with Progress(disable=True) as progress:
        found = faults.measure(tmp_path, kinds, len(kinds), 1, progress)
    assert found["violations"] == []
    assert [row["faults"] for row in found["kinds"]] == [1] * len(kinds)
    assert all(row["back_s"] and not row["hung"] for row in found["kinds"])
    assert found["stocks"]["server"]["used"]


GOOD = [("", "coming"), ("coming", "fresh"), ("fresh", "used"), ("used", "gone")]


def history(stock: str, *steps: tuple[str, str]) -> list[audit.Change]:
    return [audit.Change(stock, *step) for step in steps]


def test_a_good_life_of_a_stock() -> None:
    good = history("a", *GOOD)
    assert audit.violations("server", good) == []
    assert audit.between({"client": good}, good) == []
    assert audit.used(good) == {"a"}


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (("used", "fresh"), "from used to fresh"),
        (("burnt", "used"), "from burnt to used"),
        (("fresh", "used"), "used 2 times"),
        (("", "coming"), "coming 2 times"),
        (("fresh", "gone"), "from fresh to gone"),
    ],
)
def test_what_a_ledger_may_not_say(step: tuple[str, str], said: str) -> None:
    assert any(said in one for one in audit.violations("server", history("a", *GOOD, step)))


def test_what_two_ledgers_may_not_say() -> None:
    good, fresh, burnt = history("a", *GOOD), history("a", *GOOD[:2]), history("a", ("", "burnt"))
    assert "the server did not" in audit.between({"client": good}, fresh)[0]
    assert "client's to claim, and burnt there" in audit.between({"client": fresh}, burnt)[0]
    assert "belongs to 2 clients" in audit.between({"client": good, "gateway": good}, good)[0]


def test_the_ledger_itself_tells(tmp_path: Path) -> None:
    """The triggers see what the product does, and change nothing of it."""
    with StockStore(tmp_path, SERVER) as store:
        audit.watch(tmp_path)
        used, burnt = put(store), put(store)
        store.claim(used, MANIFEST)
        store.discard(burnt)
    seen = audit.changes(tmp_path)
    assert audit.counts(seen) == {"coming": 2, "fresh": 2, "used": 1, "burnt": 1}
    assert audit.violations("server", seen) == []


def test_the_kernel_sees_a_claim(tmp_path: Path) -> None:
    with StockStore(tmp_path, SERVER) as store:
        seer = witness.Witness({"server": tmp_path})
        used, unused = put(store), put(store)
        store.claim(used, MANIFEST)
        (tmp_path / f"{unused}.stock").read_bytes()
        (tmp_path / f"{unused}.stock").unlink()
        (tmp_path / f"{unused}.stock").touch()
        seer.close()
    assert witness.read(seer.seen, "server")[:2] == [used, unused]
    found = witness.violations(seer.seen, seer.lost, "server", [])
    assert f"server: file {unused[:8]} was made 2 times" in found
    assert not any(used[:8] in one for one in found)


def test_what_the_kernel_may_not_say() -> None:
    made = [witness.Seen(who, "a", created) for who in "sc" for created in (True, False)]
    by_server, by_client = witness.Seen("s", "a", False), witness.Seen("c", "a", False)
    assert witness.violations([*made, by_server, by_client], False, "s", "c") == []
    assert "before the server" in witness.violations([*made, by_client], False, "s", "c")[0]
    twice = [*made, by_server, by_client, by_client]
    assert "read 2 times" in witness.violations(twice, False, "s", "c")[0]
    assert "gaps" in witness.violations([], True, "s", "c")[0]


def asked(**changed: object) -> asking.Asked:
    good = asking.Asked(asking.THROUGH, 0, 1.0, 2.0, "POSITIVE", None)
    return good._replace(**changed)


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (asked(label="NEGATIVE"), "was NEGATIVE"),
        (asked(ended=20.0), "took 19.0 s"),
        (asked(label=None, code="internal"), "an error was 'internal'"),
        (asked(label=None, code="bad_input"), "an error was 'bad_input'"),
        (asked(label=None, code=asking.GONE), "nobody killed it"),
    ],
)
def test_what_may_not_come_of_a_request(one: asking.Asked, said: str) -> None:
    bounds = figures.Bounds(10.0, 2.0)
    (found,) = figures.of_requests([asked(), one], ["POSITIVE"], [], bounds)
    assert said in found
    killed = figures.Struck("gateway killed", "", 1.5, 1.8, 1.0)
    assert figures.of_requests([asked(label=None, code=asking.GONE)], [""], [killed], bounds) == []


def test_a_clock_that_jumps(tmp_path: Path) -> None:
    """The wall clock does, for Python and for what is written in C; the monotonic one does not."""
    clock = Clock(tmp_path)
    clock.set(-86_400)
    program = "import datetime, time; print(time.time(), time.monotonic()); "
    program += "print(datetime.datetime.now().timestamp())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | clock.environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    wall, monotonic, other = map(float, done.stdout.split())
    assert wall == pytest.approx(time.time() - 86_400, abs=60)
    assert other == pytest.approx(wall, abs=60)
    assert monotonic == pytest.approx(time.monotonic(), abs=60)


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "disk")
    try:
        if not disk.mounted:
            pytest.skip("mounting is not permitted")
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            (disk.folder / "more").write_bytes(bytes(8192))
        disk.free()
        (disk.folder / "more").write_bytes(bytes(8192))
    finally:
        disk.close()
