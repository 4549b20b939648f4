"""Turns: no more at once than allowed, rounds over the parties, and patience that ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veilform.errors import Overloaded
from veilform.serve.turns import Turns


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


class Crowd:
    """Threads that wait for turns in the order they were added, and write down when they run."""

    def __init__(self, turns: Turns) -> None:
        self._turns, self._threads = turns, list[threading.Thread]()
        self.ran: list[str] = []

    def add(self, who: str) -> None:
        before = self._turns.waiting
        thread = threading.Thread(target=self._run, args=(who,))
        thread.start()
        self._threads.append(thread)
        until(lambda: self._turns.waiting == before + 1)

    def _run(self, who: str) -> None:
        with self._turns.turn(who, 10):
            self.ran.append(who)

    def join(self) -> list[str]:
        for thread in self._threads:
            thread.join(10)
        return self.ran


def rounds(asked: str) -> list[str]:
    """One of each party in the order they came, and again."""
    parties = list(dict.fromkeys(asked))
    most = max(map(asked.count, parties), default=0)
    return [who for n in range(most) for who in parties if n < asked.count(who)]


@settings(max_examples=20, deadline=None)
@given(st.text("abc", max_size=8))
def test_every_party_has_its_turn(asked: str) -> None:
    """A party that asked three times first waits for one that asked once."""
    turns = Turns(1, 100)
    crowd = Crowd(turns)
    with turns.turn("first", 0):
        for who in asked:
            crowd.add(who)
    assert crowd.join() == rounds(asked)
    assert turns.waiting == 0


def test_no_more_at_once() -> None:
    turns, running, most = Turns(3, 100), [0], [0]
    lock = threading.Lock()

    def run(who: int) -> None:
        with turns.turn(who % 4, 10):
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
            time.sleep(0.002)
            with lock:
                running[0] -= 1

    threads = [threading.Thread(target=run, args=(n,)) for n in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert most == [3]


def test_patience_ends() -> None:
    turns = Turns(1, 100)
    with turns.turn("a", 0):
        with pytest.raises(Overloaded, match=r"no turn within 0\.0 s"), turns.turn("b", 0.01):
            pass
        assert turns.waiting == 0
    with turns.turn("b", 0):
        pass


def test_too_many_wait() -> None:
    turns = Turns(1, 2)
    crowd = Crowd(turns)
    with turns.turn("a", 0):
        crowd.add("b")
        crowd.add("c")
        with pytest.raises(Overloaded, match="2 runs wait"), turns.turn("d", 10):
            pass
    assert crowd.join() == ["b", "c"]


def test_a_turn_ends_with_its_block_whatever_happens() -> None:
    turns = Turns(1, 1)
    for _ in range(3):
        with pytest.raises(KeyError), turns.turn("a", 0):
            raise KeyError
