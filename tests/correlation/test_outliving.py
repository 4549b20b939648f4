"""What is left of a stock when its process, its ledger, its file or the clock fails.

A process is stopped by SIGKILL before and after every step that it takes on the disk. Whenever that
is, the next one finds each stock in one of two states: fresh and whole, or never to be read again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest
from tests.correlation.test_store import DEALT, MANIFEST, SEED, names, put, state, used_up

from veilform.correlation import ledger as ledger_module
from veilform.correlation.store import StockStore, new_id
from veilform.errors import InputError, StockError
from veilform.roles import SERVER

ROOT = Path(__file__).parents[2]
READ, CLAIMED = "read", "claimed"

STOPPED = """
import os, signal, sys
from pathlib import Path
from tests.correlation.test_store import DEALT, MANIFEST, SEED, SERVER, StockStore, used_up
from veilform.correlation import store as store_module, stockfile
from veilform.correlation.ledger import Ledger
folder, name, act, stop = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
count = -1

def step():
    global count
    count += 1
    if count == stop:
        os.kill(os.getpid(), signal.SIGKILL)

def stopping(owner, attribute):
    genuine = getattr(owner, attribute)
    def call(*values, **options):
        step()
        result = genuine(*values, **options)
        step()
        return result
    setattr(owner, attribute, call)

store = StockStore(folder, SERVER)
for each in ("open", "pwrite", "fsync"):
    stopping(os, each)
for each in ("begin", "freshen", "claim", "burn"):
    stopping(Ledger, each)
stopping(Path, "unlink")
stopping(store_module, "Outgoing")
if act == "put":
    store.put(name, MANIFEST, SEED, [DEALT])
elif act == "claim":
    used_up(store.claim(name, MANIFEST))
else:
    store.discard(name)
print("all", count + 1, flush=True)
"""


def stopped(folder: Path, name: str, act: str, stop: int) -> bool:
    """Runs an act, and kills it at a step; whether there was such a step.

    Forks, as a hundred interpreters would take minutes.
    """
    pid = os.fork()
    if pid == 0:
        os.close(1)
        os.open(os.devnull, os.O_WRONLY)
        try:
            sys.argv = ["", str(folder), name, act, str(stop)]
            exec(compile(STOPPED, "stopped", "exec"), {})
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
    return os.WIFSIGNALED(status)


def whole(store: StockStore, name: str) -> bool:
    """A stock is either fresh and whole, or nothing can be read of it."""
    if state(store, name) == "fresh":
        assert names(store.folder) == {f"{name}.stock"}
        assert len(used_up(store.claim(name, MANIFEST))) == len(MANIFEST.specs)
        return True
    assert state(store, name) in ("unknown", "used", "burnt")
    assert not names(store.folder)
    for _ in range(2):
        with pytest.raises(StockError):
            store.claim(name, MANIFEST)
    return False


@pytest.mark.parametrize(("act", "least"), [("put", 14), ("claim", 8), ("discard", 4)])
def test_killed_at_any_step(tmp_path: Path, act: str, least: int) -> None:
    fresh = []
    for stop in range(100):
        folder, name = tmp_path / str(stop), new_id()
        if act != "put":
            with StockStore(folder, SERVER) as before:
                before.put(name, MANIFEST, SEED, [DEALT])
        killed = stopped(folder, name, act, stop)
        with StockStore(folder, SERVER) as store:
            assert store.kept("") == ({name: True} if state(store, name) == "fresh" else {})
            fresh.append(whole(store, name))
            put(store)
        if not killed:
            break
    assert stop >= least
    # It changes once, from what it was to what it is to be.
    changes = [i for i in range(1, len(fresh)) if fresh[i] != fresh[i - 1]]
    assert len(changes) == 1
    assert fresh[-1] is (act == "put")


@pytest.mark.parametrize(("act", "stop"), [("put", 9), ("claim", 0), ("claim", 1)])
def test_killed_in_a_process_of_its_own(tmp_path: Path, act: str, stop: int) -> None:
    name = new_id()
    if act == "claim":
        with StockStore(tmp_path / "stock", SERVER) as before:
            before.put(name, MANIFEST, SEED, [DEALT])
    command = [sys.executable, "-c", STOPPED, str(tmp_path / "stock"), name, act, str(stop)]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    with StockStore(tmp_path / "stock", SERVER) as store:
        assert whole(store, name) is (act == "claim" and stop == 0)


def test_stocks_and_the_folders_id_outlive_the_process(tmp_path: Path) -> None:
    with StockStore(tmp_path, SERVER) as first:
        name, known = put(first), first.id
    with StockStore(tmp_path, SERVER) as second:
        assert second.id == known
        row = second.find(name)
        assert row is not None
        assert (row.manifest, row.batch, row.length) == (MANIFEST.digest, 1, 16)
        assert row.bytes == (tmp_path / f"{name}.stock").stat().st_size
        used_up(second.claim(name, MANIFEST))
    with StockStore(tmp_path, SERVER) as third, pytest.raises(StockError, match="used already"):
        third.claim(name, MANIFEST)


def test_what_belongs_to_no_fresh_row_goes(tmp_path: Path) -> None:
    with StockStore(tmp_path, SERVER) as before:
        kept, used, lost = (put(before) for _ in range(3))
        content = (tmp_path / f"{used}.stock").read_bytes()
        before.claim(used, MANIFEST)
    (tmp_path / f"{used}.stock").write_bytes(content)  # as if its name had not gone
    (tmp_path / f"{lost}.stock").unlink()
    for stray in (f"{new_id()}.stock", f"{new_id()}.used", f"{new_id()}.0123abcd.partial"):
        (tmp_path / stray).write_bytes(content)
    (tmp_path / "notes.stock").write_text("not ours")
    with StockStore(tmp_path, SERVER) as store:
        assert names(tmp_path) == {f"{kept}.stock", "notes.stock"}
        assert store.kept("") == {kept: True}
        assert state(store, lost) == "burnt"
        assert state(store, used) == "used"


def test_who_comes_second_burns_nothing(tmp_path: Path) -> None:
    with StockStore(tmp_path, SERVER) as first:
        name = new_id()
        with first.incoming(name, MANIFEST, SEED) as stock:
            with StockStore(tmp_path, SERVER) as second:
                assert second.kept("") == {name: False}
            stock.dealt.write(DEALT)
        assert first.kept("") == {name: True}


def test_a_damaged_ledger_burns_everything(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for damage in (b"not a ledger at all" * 300, None):
        with StockStore(tmp_path, SERVER) as before:
            name, known = put(before), before.id
        path = tmp_path / "ledger.sqlite"
        content = bytearray(path.read_bytes())
        content[4096:] = os.urandom(len(content) - 4096)
        path.write_bytes(damage or content)
        caplog.clear()
        with StockStore(tmp_path, SERVER) as store:
            assert "is damaged: all stocks there are burnt" in caplog.text
            assert not names(tmp_path)
            assert store.id != known
            with pytest.raises(StockError, match="is not kept here"):
                store.claim(name, MANIFEST)
            put(store)
        (tmp_path / f"{name}.stock").unlink(missing_ok=True)


def test_a_ledger_that_was_removed(tmp_path: Path) -> None:
    with StockStore(tmp_path, SERVER) as before:
        put(before)
    (tmp_path / "ledger.sqlite").unlink()
    with StockStore(tmp_path, SERVER):
        assert not names(tmp_path)


def test_a_ledger_damaged_while_another_uses_it(tmp_path: Path) -> None:
    with StockStore(tmp_path, SERVER) as first:
        put(first)
        first._ledger._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (tmp_path / "ledger.sqlite").write_bytes(b"not a ledger at all" * 300)
        with pytest.raises(InputError, match="its ledger cannot be used"):
            StockStore(tmp_path, SERVER)


@pytest.mark.parametrize("jump", [-3e9, -1.0, 3600.0, 8 * 86400.0, 40 * 86400.0, 3e9])
def test_a_clock_that_jumps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    """Costs stocks at most."""
    with StockStore(tmp_path, SERVER) as before:
        used, fresh = put(before), put(before)
        before.claim(used, MANIFEST)
    now = time.time() + jump
    monkeypatch.setattr(time, "time", lambda: now)
    with StockStore(tmp_path, SERVER) as store:
        with pytest.raises(StockError):
            store.claim(used, MANIFEST)
        assert (state(store, used) == "used") is (jump <= ledger_module.KEEP_ROWS_S)
        assert whole(store, fresh) is (jump <= ledger_module.KEEP_FRESH_S)


def test_the_ledger_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "MOST_ROWS", 5)
    monkeypatch.setattr("veilform.correlation.store._PUTS_PER_PRUNING", 1)
    with StockStore(tmp_path, SERVER) as store:
        fresh = put(store)
        for _ in range(9):
            store.claim(put(store), MANIFEST)
        put(store)
        rows = store._ledger._db.execute("SELECT count(*) FROM stocks").fetchone()
        assert rows[0] <= 7
        assert state(store, fresh) == "fresh"  # however old


def test_a_folder_is_bounded(tmp_path: Path) -> None:
    with StockStore(tmp_path / "one", SERVER) as one:
        size = (one.folder / f"{put(one)}.stock").stat().st_size
    with StockStore(tmp_path / "two", SERVER, most_bytes=2 * size) as store:
        first = put(store)
        with store.incoming(new_id(), MANIFEST, SEED) as coming:
            with pytest.raises(StockError, match="over the limit of"):  # what comes counts, too
                put(store)
            coming.dealt.write(DEALT)
        with pytest.raises(StockError, match="over the limit of"):
            put(store)
        store.claim(first, MANIFEST)
        put(store)


def test_a_stock_is_its_peers_alone(tmp_path: Path) -> None:
    with StockStore(tmp_path, SERVER) as store:
        name = new_id()
        store.put(name, MANIFEST, SEED, [DEALT], peer="a")
        store.discard(name, "b")
        assert store.burn_idle([name], "b") == 0
        assert store.find(name, "b") is store.take(MANIFEST, "b") is None
        assert not store.kept("b")
        with pytest.raises(StockError, match="is not kept here"):
            store.claim(name, MANIFEST, "b")
        with pytest.raises(StockError, match="is known already"):
            store.put(name, MANIFEST, SEED, [DEALT], peer="b")
        with store.incoming(new_id(), MANIFEST, SEED, "b", most_of_peer=1) as stock:
            stock.dealt.write(DEALT)
        with (
            pytest.raises(StockError, match="1 stocks of this client wait already"),
            store.incoming(new_id(), MANIFEST, SEED, "b", most_of_peer=1),
        ):
            pass
        used_up(store.claim(name, MANIFEST, "a"))


def test_a_taken_stock_is_one_runs(tmp_path: Path) -> None:
    with StockStore(tmp_path, SERVER) as one, StockStore(tmp_path, SERVER) as other:
        other._ledger._me = "another process"
        first, _ = put(one), put(one)
        taken = one.take(MANIFEST)
        assert taken is not None
        assert taken.id == first  # the oldest
        with pytest.raises(StockError, match="is held by another run"):
            other.claim(first, MANIFEST)
        assert other.burn_idle([first], "") == 0
        assert other.ready(MANIFEST) == 1
        other.release(first)
        assert other.ready(MANIFEST) == 1  # not its own
        one.release(first)
        assert other.ready(MANIFEST) == 2
        again = other.take(MANIFEST)
        assert again is not None
        assert again.id == first
        other.claim(first, MANIFEST)
    with StockStore(tmp_path, SERVER) as alone:
        assert alone.ready(MANIFEST) == 1


def test_threads_take_different_stocks(tmp_path: Path) -> None:
    with StockStore(tmp_path, SERVER) as store, StockStore(tmp_path, SERVER) as other:
        for _ in range(12):
            put(store)
        taken: list[str] = []

        def take(own: StockStore) -> None:
            while (row := own.take(MANIFEST)) is not None:
                taken.append(row.id)

        threads = [threading.Thread(target=take, args=(s,)) for s in (store, other) * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(taken) == len(set(taken)) == 12


def test_stocks_of_weights_that_nobody_has_are_burnt(tmp_path: Path) -> None:
    with StockStore(tmp_path, SERVER) as store:
        names_of = {}
        for weights in ("a" * 32, "b" * 32):
            names_of[weights] = new_id()
            manifest = msgspec.structs.replace(MANIFEST, weights=weights)
            store.put(names_of[weights], manifest, SEED, [DEALT])
        assert store.burn_other_weights(["b" * 32]) == 1
        assert names(tmp_path) == {f"{names_of['b' * 32]}.stock"}
