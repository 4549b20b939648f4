"""Fields made ahead of a run: the same ones, a bounded number of bytes, and no thread left."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilform.correlation.ahead import Ahead
from veilform.correlation.manifest import Manifest
from veilform.correlation.specs import Open, Preshare, Square
from veilform.correlation.stock import Stock
from veilform.errors import StockError
from veilform.masks import MaskRef
from veilform.roles import CLIENT

SPECS = tuple(
    spec
    for i in range(20)
    for spec in (
        Preshare(f"r{i}", (i + 1, 5), 64),
        Open(f"o{i}", (3, 7), 40, 64, (CLIENT,)),
        Square(f"s{i}", (3, 7), MaskRef(f"o{i}"), 40, 64),
    )
)
MANIFEST = Manifest("0" * 64, "", 1, 16, SPECS, (), ())
SEED = bytes(range(16))


def stock(specs: int = len(SPECS)) -> Stock:
    def received() -> Iterator[dict[str, memoryview]]:
        for index in range(len(SPECS)):
            if index == specs:
                raise StockError("it is damaged")
            yield {}

    return Stock(CLIENT, MANIFEST, SEED, received())


def threads_left() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name == "veilform-ahead"]


@pytest.mark.parametrize("most", [1, 500, 1 << 30])
def test_what_is_made_ahead_is_what_is_made_when_taken(most: int) -> None:
    plain, ahead = stock(), stock()
    with ahead.ahead(most):
        for spec in SPECS:
            one, other = plain.take(spec), ahead.take(spec)
            assert list(one) == list(other)
            assert all(np.array_equal(one[name], other[name]) for name in one)
        with pytest.raises(StockError, match="used up"):
            ahead.take(SPECS[0])
    assert not threads_left()


def test_an_error_surfaces_where_it_belongs() -> None:
    broken, taken = stock(5), []

    def run() -> None:
        with broken.ahead():
            for spec in SPECS:
                taken.append(broken.take(spec))

    with pytest.raises(StockError, match="it is damaged"):
        run()
    assert len(taken) == 5
    assert not threads_left()


def test_nothing_is_taken_after_the_run() -> None:
    ours = stock()
    with ours.ahead():
        ours.take(SPECS[0])
    assert not threads_left()
    with pytest.raises(StockError):
        ours.take(SPECS[1])


def test_a_run_that_breaks_off_ends_the_thread() -> None:
    def run() -> None:
        with stock().ahead(1):
            raise ConnectionError

    with pytest.raises(ConnectionError):
        run()
    assert not threads_left()


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 100))
def test_items_in_order_and_bounded(sizes: list[int], most: int) -> None:
    made: list[int] = []

    def source() -> Iterator[int]:
        for size in sizes:
            made.append(size)
            yield size

    items = Ahead(source(), lambda size: size, most)
    try:
        for index, size in enumerate(sizes):
            waiting = items.waiting_bytes
            assert waiting <= max(most, max(sizes))
            # One more may be made already, and wait for room.
            assert len(made) <= len(sizes)
            assert next(items) == size
            assert len(made) > index
        assert next(items, None) is None
    finally:
        items.close()


def test_the_thread_waits_when_the_bound_is_reached() -> None:
    made: list[int] = []

    def source() -> Iterator[int]:
        while True:
            made.append(1)
            yield 10

    items = Ahead(source(), lambda size: size, 35)
    try:
        deadline = time.monotonic() + 5
        while len(made) < 4 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.05)
        assert len(made) == 4  # three wait, and one waits for room
        assert items.waiting_bytes == 30
    finally:
        items.close()
    assert items.waiting_bytes == 0
    assert not threads_left()
