"""The fuzzer: every parser on a few inputs; and that it notices what it is there to notice."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest
from tests.scripts import load

from veilform.errors import InputError

fuzz = load("fuzz")
PARSERS = 18

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="bounds memory as Linux does"
)


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here threads of earlier tests have reserved addresses, and may reserve more."""
    monkeypatch.setattr(fuzz, "MOST_MEMORY", 1 << 30)


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    return fuzz.all_targets(tmp_path_factory.mktemp("fuzz"))


def test_all_parsers_are_here(targets: list[object]) -> None:
    assert len({target.name for target in targets}) == len(targets) == PARSERS


@pytest.mark.parametrize("number", range(PARSERS))
def test_a_parser(targets: list[object], number: int) -> None:
    ended, failures = fuzz.run(targets[number], 200, seed=1)
    assert failures == []
    assert ended["accepted"]
    assert ended.total() == 200


def crash(data: bytes) -> None:
    raise IndexError("out of range")


def hang(data: bytes) -> None:
    time.sleep(60)


def allocate(data: bytes) -> None:
    bytearray(2 << 30)


def refuse(data: bytes) -> None:
    raise InputError("no")


@pytest.mark.parametrize(
    ("parse", "said"), [(crash, "IndexError"), (hang, "Hang"), (allocate, "MemoryError")]
)
def test_what_it_notices(parse, said: str, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(fuzz, "MOST_SECONDS", 0.05)
    ended, failures = fuzz.run(fuzz.Target("bad", [b"input"], parse), 2, seed=1)
    assert ended == {"failed": 2}
    assert all(failure.error.startswith(said) for failure in failures)
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_a_refusal_is_no_failure() -> None:
    assert fuzz.run(fuzz.Target("good", [b"input"], refuse), 5, 1) == ({"InputError": 5}, [])


def test_a_failing_input_is_kept(tmp_path: Path) -> None:
    fuzz.keep([fuzz.Failure("a parser", "IndexError()", b"input")], tmp_path / "kept")
    (path,) = (tmp_path / "kept").iterdir()
    assert path.name.startswith("a-parser-")
    assert path.read_bytes() == b"input"


def test_the_same_seed_gives_the_same_inputs(targets: list[object]) -> None:
    first, second = (fuzz.run(targets[2], 100, seed=7)[0] for _ in range(2))
    assert first == second
