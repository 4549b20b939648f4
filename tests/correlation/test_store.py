"""A stock is used once: by one claim, whatever else claims, ends, breaks or comes again."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest

from veilform.correlation import stockfile
from veilform.correlation.manifest import Manifest
from veilform.correlation.specs import Linear, Open, Preshare, Square, Term
from veilform.correlation.stock import Stock
from veilform.correlation.store import StockStore, new_id
from veilform.errors import InputError, StockError
from veilform.masks import MaskRef
from veilform.roles import CLIENT, SERVER
from veilform.words import unpack

SEED = bytes(range(16))
SPECS = (
    Preshare("x", (2, 3), 16),
    Open("y", (2, 3), 16, 24, (SERVER,), MaskRef("x")),
    Square("z", (2, 3), MaskRef("y"), 16, 24),
)
MANIFEST = Manifest("0" * 64, "", 1, 16, SPECS, (8,), (8,))
LINEAR = (
    Preshare("x", (2, 3), 64),
    Linear("z", (2, 3), 64, (Term(MaskRef("x"), (2, 3), "w", (3, 3)),)),
)
OTHER = Manifest("1" * 64, "", 1, 16, SPECS, (8,), (8,))
DEALT = bytes(range(24)) + bytes(range(100, 124))


@pytest.fixture
def store(tmp_path: Path) -> StockStore:
    return StockStore(tmp_path / "stock", SERVER)


@pytest.fixture
def folder(store: StockStore) -> Path:
    return store.folder


def put(store: StockStore) -> str:
    name = new_id()
    store.put(name, MANIFEST, SEED, [DEALT[:7], memoryview(DEALT)[7:]])
    return name


def used_up(stock: Stock) -> list[dict[str, np.ndarray]]:
    """Every field of every spec."""
    return [dict(stock.take(spec)) for spec in stock.manifest.specs]


def names(folder: Path) -> set[str]:
    """Of everything but the lock and the ledger."""
    found = {p.name for p in folder.iterdir()} - {".lock"}
    return {name for name in found if not name.startswith("ledger.sqlite")}


def state(store: StockStore, name: str) -> str:
    found = store._ledger.find(name)
    return found[1] if found else "unknown"


def test_what_is_put_comes_back_once(store: StockStore, folder: Path) -> None:
    name = put(store)
    stock = store.claim(name, MANIFEST)
    assert stock.role is SERVER
    stock.take(SPECS[0])
    opening = stock.take(SPECS[1])
    words = [int.from_bytes(DEALT[i : i + 3], "little") for i in range(0, 18, 3)]
    np.testing.assert_array_equal(opening["q"].ravel(), words)
    np.testing.assert_array_equal(opening["h"], np.arange(18, 24).reshape(2, 3))
    square = stock.take(SPECS[2])
    np.testing.assert_array_equal(square["qh"], np.arange(118, 124).reshape(2, 3))
    assert not names(folder)
    for _ in range(2):
        with pytest.raises(StockError, match="was used already; ask the dealer for a new one"):
            store.claim(name, MANIFEST)


def test_only_the_owner_can_read(store: StockStore, folder: Path) -> None:
    before = os.umask(0)
    try:
        name = put(store)
        StockStore(folder.parent / "second", CLIENT)
        store.discard(new_id())
    finally:
        os.umask(before)
    for each in (folder, folder.parent / "second"):
        assert stat.S_IMODE(each.stat().st_mode) == 0o700
        for path in each.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert names(folder) == {f"{name}.stock"}


def test_a_folder_that_others_may_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(InputError, match="is open to other users: chmod 700"):
        StockStore(tmp_path, SERVER)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be used: "):
        StockStore(tmp_path / "file" / "stock", SERVER)


PROCESS = """
import os, sys
from tests.correlation.test_store import MANIFEST, SERVER, StockStore
from pathlib import Path
store = StockStore(Path(sys.argv[1]), SERVER)
sys.stdout.write("ready"); sys.stdout.flush()
if sys.argv[3] == "wait":
    sys.stdin.read(1)
try:
    store.claim(sys.argv[2], MANIFEST)
except Exception as error:
    print(type(error).__name__, error)
    os._exit(1)
os._exit(0)
"""


def claimant(folder: Path, name: str, how: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROCESS, str(folder), name, how]
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
    )


def test_a_process_that_dies_after_its_claim(store: StockStore, folder: Path) -> None:
    name = put(store)
    with claimant(folder, name, "now") as first:
        first.communicate()
    with claimant(folder, name, "now") as second:
        said, _ = second.communicate()
    assert (first.returncode, second.returncode) == (0, 1)
    assert "StockError" in said
    assert "was used already" in said


def test_two_processes_claim_at_once(store: StockStore, folder: Path) -> None:
    name = put(store)
    with claimant(folder, name, "wait") as a, claimant(folder, name, "wait") as b:
        for each in (a, b):
            assert each.stdout is not None
            assert each.stdout.read(5) == "ready"
        for each in (a, b):
            assert each.stdin is not None
            each.stdin.write("x")
            each.stdin.flush()
        said = a.communicate()[0] + b.communicate()[0]
    assert sorted([a.returncode, b.returncode]) == [0, 1]
    assert "StockError" in said


def test_threads_claim_at_once(store: StockStore) -> None:
    for _ in range(20):
        name = put(store)
        barrier, outcomes = threading.Barrier(6), []

        def claim(name: str = name, outcomes: list[str] = outcomes) -> None:
            barrier.wait()  # noqa: B023
            try:
                store.claim(name, MANIFEST)
                outcomes.append("won")
            except StockError:
                outcomes.append("lost")

        threads = [threading.Thread(target=claim) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["lost"] * 5 + ["won"]


def test_an_unknown_stock(store: StockStore, folder: Path) -> None:
    with pytest.raises(StockError, match="is not kept here"):
        store.claim(new_id(), MANIFEST)
    assert not names(folder)


@pytest.mark.parametrize("name", ["", "..", "../../etc/passwd", "A" * 32, "0" * 31, "0" * 33])
def test_what_is_no_id(store: StockStore, name: str) -> None:
    for call in (
        lambda: store.claim(name, MANIFEST),
        lambda: store.discard(name),
        lambda: store.put(name, MANIFEST, SEED, [DEALT]),
    ):
        with pytest.raises(StockError, match="32 hexadecimal digits"):
            call()


def test_a_known_id_is_not_put_again(store: StockStore) -> None:
    name = put(store)
    for _ in range(2):
        with pytest.raises(StockError, match="is known already; each is dealt once"):
            store.put(name, MANIFEST, SEED, [DEALT])
        assert state(store, name) in ("fresh", "burnt")  # as it was
        store.discard(name)
    with pytest.raises(StockError, match="was used already"):
        store.claim(name, MANIFEST)


def test_two_threads_put_one_id(store: StockStore, folder: Path) -> None:
    for _ in range(10):
        name, barrier, outcomes = new_id(), threading.Barrier(2), []

        def attempt(name: str = name, outcomes: list[str] = outcomes) -> None:
            barrier.wait()  # noqa: B023
            try:
                store.put(name, MANIFEST, SEED, [DEALT])
                outcomes.append("put")
            except StockError:
                outcomes.append("refused")

        threads = [threading.Thread(target=attempt) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["put", "refused"]
        store.claim(name, MANIFEST)
    assert not names(folder)


def test_every_damaged_byte_is_noticed(store: StockStore, folder: Path) -> None:
    content = (folder / f"{put(store)}.stock").read_bytes()
    path = folder / "damaged"
    for at in range(len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(StockError, match=r"is damaged|for another model"):
            list(stockfile.Outgoing(os.open(path, os.O_RDONLY), SERVER, MANIFEST).fields())


def test_a_damaged_stock_is_used_up(store: StockStore, folder: Path) -> None:
    path = folder / f"{put(store)}.stock"
    content = bytearray(path.read_bytes())
    content[stockfile.BODY] ^= 1
    path.write_bytes(content)
    with pytest.raises(StockError, match="is damaged; ask the dealer for a new one"):
        used_up(store.claim(path.stem, MANIFEST))
    assert state(store, path.stem) == "used"
    assert not path.exists()


@pytest.mark.parametrize("block", [1, 7, 16, 54])
def test_blocks_of_any_size_give_the_same_fields(
    store: StockStore, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    expected = used_up(store.claim(put(store), MANIFEST))
    monkeypatch.setattr("veilform.correlation.stockfile.BLOCK", block)
    found = used_up(store.claim(put(store), MANIFEST))
    for one, other in zip(found, expected, strict=True):
        assert {n: w.tolist() for n, w in one.items()} == {n: w.tolist() for n, w in other.items()}


@pytest.fixture
def long() -> Manifest:
    """One whose stock has some hundred pages, in fields that end anywhere in a page."""
    specs = (
        *LINEAR[:1],
        *(Linear(f"z{i}", (97, 101), 40, LINEAR[1].terms) for i in range(9)),
    )
    return msgspec.structs.replace(MANIFEST, specs=specs)


@pytest.mark.parametrize("step", [1, 70_000])
def test_pages_let_go_are_there_again(
    store: StockStore, long: Manifest, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr("veilform.correlation.stockfile._STEP", step)
    dealt, corrections = (os.urandom(n) for n in (long.dealt_bytes(SERVER), long.correction_bytes))
    name = new_id()
    store.put(name, long, SEED, [dealt], [corrections])
    stock = store.claim(name, long)
    taken = [(material, dict(material)) for material in map(stock.take, long.specs)]
    size = 97 * 101 * 5
    for i, (material, early) in enumerate(taken[1:]):
        for field, data in (("share", dealt), ("correction", corrections)):
            expected = unpack(data[i * size : (i + 1) * size], (97, 101), 40)
            np.testing.assert_array_equal(early[field], expected)
            np.testing.assert_array_equal(material[field], expected)


def test_damage_shows_before_anything_of_its_block_is_taken(
    store: StockStore, folder: Path, long: Manifest
) -> None:
    name = new_id()
    dealt = bytearray(os.urandom(long.dealt_bytes(SERVER)))
    store.put(name, long, SEED, [dealt], [bytes(long.correction_bytes)])
    with (folder / f"{name}.stock").open("r+b") as file:
        file.seek(stockfile.BODY + stockfile.BLOCK - 1)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([last ^ 1]))
    stock = store.claim(name, long)
    stock.take(long.specs[0])
    with pytest.raises(StockError, match="is damaged; ask the dealer for a new one"):
        stock.take(long.specs[1])


def test_a_disk_that_fails_to_read(store: StockStore, monkeypatch: pytest.MonkeyPatch) -> None:
    stock = store.claim(put(store), MANIFEST)
    stock.take(SPECS[0])
    monkeypatch.setattr("veilform.correlation.stockfile.bring_in", lambda _: errno.EIO)
    with pytest.raises(StockError, match="a stock cannot be read: Input/output error"):
        stock.take(SPECS[1])


def test_a_claimed_stock_has_no_name_any_more(store: StockStore, folder: Path) -> None:
    """So it ends with the process, whatever ends that."""
    name = put(store)
    stock = store.claim(name, MANIFEST)
    assert not names(folder)
    assert used_up(stock)[1]["q"].shape == (2, 3)


@pytest.mark.parametrize("size", [0, 1, 8, 11, 12, 40, -1])
def test_a_truncated_file(store: StockStore, folder: Path, size: int) -> None:
    path = folder / f"{put(store)}.stock"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(StockError, match="is damaged; ask the dealer for a new one"):
        store.claim(path.stem, MANIFEST)
    with pytest.raises(StockError, match="was used already"):
        store.claim(path.stem, MANIFEST)


def test_a_stock_of_another_manifest(store: StockStore) -> None:
    other = put(store)
    with pytest.raises(StockError, match="dealt for another model, input length or party"):
        store.claim(other, OTHER)


def test_a_folder_belongs_to_one_role(store: StockStore, folder: Path) -> None:
    name = put(store)
    with pytest.raises(InputError, match="is the server's; give each party its own"):
        StockStore(folder, CLIENT)
    assert StockStore(folder, SERVER).claim(name, MANIFEST)


def test_a_stock_of_the_wrong_size(store: StockStore) -> None:
    name = new_id()
    for content in (DEALT + b"x", DEALT[:-1]):
        with pytest.raises(StockError, match="where 48 belong"):
            store.put(name, MANIFEST, SEED, [content])
        assert state(store, name) == "burnt"
        name = new_id()


def test_a_stock_in_pieces_from_two_threads(store: StockStore, folder: Path) -> None:
    """Nothing of it can be claimed before it is whole, and its bytes are those of one in one go."""
    manifest = msgspec.structs.replace(MANIFEST, specs=LINEAR)
    dealt, corrections = os.urandom(48), os.urandom(48)
    name, other = new_id(), new_id()
    with store.incoming(name, manifest, SEED) as stock:
        other_thread = threading.Thread(
            target=lambda: [stock.corrections.write(corrections[i : i + 1]) for i in range(48)]
        )
        other_thread.start()
        for i in range(0, 48, 5):
            stock.dealt.write(dealt[i : i + 5])
        other_thread.join()
        with pytest.raises(StockError, match="is not kept here"):
            store.claim(name, manifest)
    store.put(other, manifest, SEED, [dealt], [corrections])
    first, second = ((folder / f"{n}.stock").read_bytes() for n in (name, other))
    assert first == second
    material = store.claim(name, manifest).take(LINEAR[0])
    assert not material


def test_a_stock_that_breaks_off_leaves_nothing(store: StockStore, folder: Path) -> None:
    def broken() -> None:
        with store.incoming(new_id(), MANIFEST, SEED) as stock:
            stock.dealt.write(DEALT[:9])
            raise ConnectionError

    with pytest.raises(ConnectionError):
        broken()
    assert not names(folder)


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("failing", ["pwrite", "fsync", "open"])
def test_a_full_disk_leaves_nothing_behind(
    store: StockStore, folder: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    monkeypatch.setattr(os, failing, full)
    with pytest.raises(StockError, match="No space left on device; free some space"):
        put(store)
    monkeypatch.undo()
    assert not names(folder)
    assert not store.kept("")
    put(store)


class Unwilling:
    """A ledger's connection that fails at a statement of its choice."""

    def __init__(self, inner: sqlite3.Connection, at: str) -> None:
        self._inner, self._at = inner, at

    def execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        if self._at in statement:
            raise sqlite3.OperationalError("database or disk is full")
        return self._inner.execute(statement, *values)

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


@pytest.mark.parametrize("at", ["BEGIN", "INSERT", "COMMIT", "UPDATE"])
def test_a_ledger_on_a_full_disk(
    store: StockStore, folder: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    name, other = put(store), new_id()
    with monkeypatch.context() as patch:
        patch.setattr(store._ledger, "_db", Unwilling(store._ledger._db, at))
        with pytest.raises(StockError, match="database or disk is full; free some space"):
            store.put(other, MANIFEST, SEED, [DEALT])
        if at == "UPDATE":
            with pytest.raises(StockError, match="cannot be marked used, so it is not read"):
                store.claim(name, MANIFEST)
    assert names(folder) == {f"{name}.stock"}
    store.close()
    again = StockStore(folder, SERVER)
    assert state(again, other) in ("unknown", "burnt")
    again.claim(name, MANIFEST)


def test_what_a_full_disk_did_not_take_is_done_later(
    store: StockStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or rows of stocks that nobody will ever have would count against the limits for ever."""
    name, held, coming = put(store), put(store), new_id()
    assert store.take(MANIFEST).id == name
    assert store.take(MANIFEST).id == held
    with monkeypatch.context() as patch:
        for act in (lambda: store.discard(name), lambda: store.release(held)):
            patch.setattr(store._ledger, "_db", Unwilling(store._ledger._db, "UPDATE"))
            with pytest.raises(StockError, match="database or disk is full"):
                act()
        with pytest.raises(StockError, match="free some space"):
            store.put(coming, MANIFEST, SEED, [DEALT])
    assert store.kept("") == {name: True, held: True, coming: False}
    other = put(store)
    assert store.kept("") == {held: True, other: True}
    assert names(folder) == {f"{held}.stock", f"{other}.stock"}
    assert store.take(MANIFEST).id == held


def test_discarding(store: StockStore, folder: Path) -> None:
    name, unknown = put(store), new_id()
    store.discard(name)
    store.discard(unknown)
    assert not names(folder)
    with pytest.raises(StockError, match="was used already"):
        store.claim(name, MANIFEST)
    with pytest.raises(StockError, match="is not kept here"):
        store.claim(unknown, MANIFEST)


def test_a_failed_block_burns_its_stock(store: StockStore, folder: Path) -> None:
    name, kept = put(store), put(store)
    with store.burning(kept):
        pass
    with pytest.raises(KeyboardInterrupt), store.burning(name):
        raise KeyboardInterrupt
    assert names(folder) == {f"{kept}.stock"}
    with pytest.raises(KeyboardInterrupt), store.burning("no id"):
        raise KeyboardInterrupt


@pytest.mark.parametrize("failing", ["open", "unlink"])
def test_a_claim_that_fails_half_way_cannot_be_repeated(
    store: StockStore, folder: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    name = put(store)
    with monkeypatch.context() as patch:
        patch.setattr(os if failing == "open" else Path, failing, full)
        with pytest.raises(StockError, match="cannot be read"), store.burning(name):
            store.claim(name, MANIFEST)
    with pytest.raises(StockError, match="was used already"):
        store.claim(name, MANIFEST)
    store.close()
    StockStore(folder, SERVER)
    assert not names(folder)


def test_the_text_form_shows_nothing(store: StockStore) -> None:
    stock = store.claim(put(store), MANIFEST)
    shown = repr(store) + repr(stock) + repr(stock.take(SPECS[0])) + repr(stock.take(SPECS[1]))
    for secret in (SEED, DEALT[6:14]):
        for form in (secret.hex(), repr(secret)[2:-1], str(list(secret))[1:-1]):
            assert form not in shown
