"""The pool alone, over sessions that are made up: order, bounds, deadlines, cancelling, batches."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from veilform.drive.network import Follow, Passed
from veilform.errors import ConnectionFailed, DeadlineExceeded, Overloaded, RangeError, StockLow
from veilform.models.text import TokenBatch, Tokens
from veilform.serve.client import InferenceCost
from veilform.serve.pool import Pool, State

COST = InferenceCost(0.1, 0.2, 1, 2, 3, 4, {})
SOON = 5.0


def text(number: int, tokens: int = 4) -> Tokens:
    return Tokens((number,) * tokens, (0,) * tokens)


def pad(texts: Sequence[Tokens]) -> TokenBatch:
    length = 16 if max(map(len, texts)) <= 16 else 32
    ids = np.zeros((len(texts), length), np.int64)
    for row, tokens in enumerate(texts):
        ids[row, : len(tokens)] = tokens.ids
    return TokenBatch(ids, ids, ids)


class World:
    """What the sessions of a test share: a gate before each run, and what ran."""

    def __init__(self) -> None:
        self.gate = threading.Semaphore(0)
        self.started = threading.Semaphore(0)
        self.ran: list[list[int]] = []
        self.opened = self.closed = 0
        self.fail: list[BaseException] = []
        self.unreachable = False

    def connect(self) -> FakeSession:
        if self.unreachable:
            raise ConnectionFailed("nobody is there")
        self.opened += 1
        return FakeSession(self)


class FakeSession:
    def __init__(self, world: World) -> None:
        self.world = world

    def infer(
        self, batch: TokenBatch, stock: Any, patience_s: float, follow: Follow
    ) -> tuple[Any, InferenceCost]:
        self.world.started.release()
        assert self.world.gate.acquire(timeout=SOON)
        self.world.ran.append([int(row[0]) for row in batch.ids])
        if self.world.fail:
            raise self.world.fail.pop(0)
        follow(Passed(1, 1, True, 8, b"12345678", "head"))
        return batch.ids[:, :1].astype(np.float64), COST

    def close(self) -> None:
        self.world.closed += 1


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def pool(world: World) -> Iterator[Pool]:
    with Pool(world.connect, pad, sessions=1, most_waiting=4, batches=(1, 2, 4)) as one:
        yield one
        for _ in range(20):
            world.gate.release()


def soon() -> float:
    return time.monotonic() + SOON


def busy(pool: Pool, world: World) -> Any:
    """The one session runs this."""
    (ticket,) = pool.submit([text(0)], soon())
    assert world.started.acquire(timeout=SOON)
    return ticket


def settle(pool: Pool, wanted: State) -> None:
    end = soon()
    while pool.state != wanted:
        assert time.monotonic() < end, pool.state
        time.sleep(0.005)


def test_first_come_first_served(pool: Pool, world: World) -> None:
    first = busy(pool, world)
    # Of different lengths, so that none goes with another.
    (second,) = pool.submit([text(1, 20)], soon())
    (third,) = pool.submit([text(2)], soon())
    world.gate.release(3)
    assert [t.result().output[0] for t in (first, second, third)] == [0, 1, 2]
    assert world.ran == [[0], [1], [2]]


def test_texts_of_one_bucket_that_wait_run_together(pool: Pool, world: World) -> None:
    first = busy(pool, world)
    seen: list[Passed] = []
    short = pool.submit([text(1), text(2), text(3)], soon(), seen.append)
    (long,) = pool.submit([text(4, 20)], soon())
    world.gate.release(4)
    assert [t.result().output[0] for t in (first, *short, long)] == [0, 1, 2, 3, 4]
    assert [t.result().batch for t in short] == [2, 2, 1]
    # The third is behind the long one in no queue: it came before it.
    assert world.ran == [[0], [1, 2], [3], [4]]
    assert len(seen) == 3, "two texts that run together, then one"


def test_room_for_all_or_for_none(pool: Pool, world: World) -> None:
    first = busy(pool, world)
    pool.submit([text(1), text(2), text(3)], soon())
    with pytest.raises(Overloaded, match="3 inputs wait already, 4 may"):
        pool.submit([text(4), text(5)], soon())
    assert pool.state == State(1, 1, 3, 1)
    world.gate.release(4)
    first.result()


def test_who_left_is_dropped_while_waiting(pool: Pool, world: World) -> None:
    first = busy(pool, world)
    (gone,) = pool.submit([text(1)], soon())
    (next_one,) = pool.submit([text(2)], soon())
    assert gone.future.cancel()
    assert pool.state.waiting == 1
    world.gate.release(2)
    first.result()
    next_one.result()
    assert world.ran == [[0], [2]]


def test_who_left_while_running_does_not_break_the_session(pool: Pool, world: World) -> None:
    first = busy(pool, world)
    assert not first.future.cancel()
    (second,) = pool.submit([text(1)], soon())
    world.gate.release(2)
    second.result()
    assert (world.opened, world.closed) == (1, 0)


def test_a_deadline_holds_while_waiting_and_while_running(pool: Pool, world: World) -> None:
    (running,) = pool.submit([text(0)], time.monotonic() + 0.1)
    assert world.started.acquire(timeout=SOON)
    (waiting,) = pool.submit([text(1)], time.monotonic() + 0.05)
    for ticket in (waiting, running):
        with pytest.raises(DeadlineExceeded):
            ticket.result()
    world.gate.release()
    settle(pool, State(1, 1, 0, 0))
    assert world.ran == [[0]], "nothing ran for the one that waited too long"


def test_the_pool_itself_refuses_what_waited_too_long(pool: Pool, world: World) -> None:
    first = busy(pool, world)
    (waiting,) = pool.submit([text(1)], time.monotonic())
    world.gate.release()
    first.result()
    assert isinstance(waiting.future.exception(timeout=SOON), DeadlineExceeded)


def test_a_lost_connection_is_opened_again_and_the_text_runs(pool: Pool, world: World) -> None:
    settle(pool, State(1, 1, 0, 0))
    world.fail = [ConnectionFailed("the server went away")]
    world.gate.release(2)
    (ticket,) = pool.submit([text(1)], soon())
    assert ticket.result().output[0] == 1
    assert (world.opened, world.closed) == (2, 1)


def test_a_second_failure_is_told(pool: Pool, world: World) -> None:
    settle(pool, State(1, 1, 0, 0))
    world.fail = [ConnectionFailed("gone"), ConnectionFailed("gone again")]
    world.gate.release(2)
    (ticket,) = pool.submit([text(1)], soon())
    with pytest.raises(ConnectionFailed, match="gone again"):
        ticket.result()


def test_no_answer_leaves_the_session_as_it_is(pool: Pool, world: World) -> None:
    settle(pool, State(1, 1, 0, 0))
    world.fail = [RangeError("out of range")]
    world.gate.release(1)
    (ticket,) = pool.submit([text(1)], soon())
    with pytest.raises(RangeError):
        ticket.result()
    assert (world.opened, world.closed) == (1, 0)


def test_an_unreachable_server_is_told_at_once(world: World) -> None:
    world.unreachable = True
    with Pool(world.connect, pad, sessions=1) as pool:
        (ticket,) = pool.submit([text(1)], soon())
        with pytest.raises(ConnectionFailed, match="nobody is there"):
            ticket.result()
        assert pool.state.connected == 0


def test_an_unexpected_failure_leaves_the_thread_at_work(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def connect() -> FakeSession:
        if not world.opened:
            world.opened += 1
            raise OSError("something of the disk's")
        return world.connect()

    world.gate.release()
    with Pool(connect, pad, sessions=1) as pool:
        settle(pool, State(1, 1, 0, 0))
        (ticket,) = pool.submit([text(1)], soon())
        assert ticket.result().output[0] == 1
    assert "OSError" in caplog.text
    assert "something" not in caplog.text


def test_stock_that_is_low_is_told_and_the_session_kept(world: World) -> None:
    class Empty:
        def take(self, shape: Any, deadline: float) -> Any:
            raise StockLow("no stock", retry_s=3.0)

        def release(self, stock: Any) -> None:
            raise AssertionError("there was none")

    with Pool(world.connect, pad, sessions=1, supply=Empty()) as pool:
        (ticket,) = pool.submit([text(1)], soon())
        with pytest.raises(StockLow):
            ticket.result()
        settle(pool, State(1, 1, 0, 0))


def test_a_stock_that_came_too_late_is_given_back(world: World) -> None:
    class Slow:
        def __init__(self) -> None:
            self.back: list[Any] = []

        def take(self, shape: Any, deadline: float) -> Any:
            time.sleep(max(0.0, deadline - time.monotonic()))
            return "stock"

        def release(self, stock: Any) -> None:
            self.back.append(stock)

    supply = Slow()
    with Pool(world.connect, pad, sessions=1, supply=supply) as pool:
        (ticket,) = pool.submit([text(1)], time.monotonic() + 0.1)
        assert isinstance(ticket.future.exception(timeout=SOON), DeadlineExceeded)
        assert (supply.back, world.ran) == (["stock"], [])


def test_ending_refuses_what_waits_and_lets_runs_end(world: World) -> None:
    pool = Pool(world.connect, pad, sessions=1)
    first = busy(pool, world)
    (waiting,) = pool.submit([text(1)], soon())
    threading.Timer(0.05, world.gate.release).start()
    pool.close()
    assert first.result().output[0] == 0
    with pytest.raises(Overloaded, match="ending"):
        waiting.result()
    with pytest.raises(Overloaded, match="ending"):
        pool.submit([text(2)], soon())
    assert world.closed == 1
    pool.close()


def test_who_watches_is_told_of_the_queue(world: World) -> None:
    told: list[State] = []
    with Pool(world.connect, pad, sessions=1, most_waiting=4, tell=told.append) as pool:
        ticket = busy(pool, world)
        pool.submit([text(0)], soon())
        settle(pool, State(1, 1, 1, 1))
        assert told[-1] == State(1, 1, 1, 1)
        for _ in range(2):
            world.gate.release()
        ticket.result()
        settle(pool, State(1, 1, 0, 0))
    assert State(1, 1, 0, 0) in told
