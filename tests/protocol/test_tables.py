"""Tables in the clear: what each index answers, and that what leaves the range is seen."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.protocol.harness import checked

from veilform.errors import ModelError
from veilform.protocol.tables import (
    CHECK_BITS,
    Table,
    checks_beyond,
    fit,
    reciprocal,
    rsqrt,
)

CARRIES = list(itertools.product((0, 1), (0, 1)))
"""What the dropped bits may take off the fine index, and off those of all checks."""


def index(x: int, low: int, bits: int, carry: int) -> int:
    """The opened index; exact where no bits are dropped."""
    return ((x >> low) - (carry if low else 0)) % 2**bits


def look_up(table: Table, x: int, carries: tuple[int, ...]) -> tuple[float, int]:
    """The output as a real number, and the count of out-of-range marks."""
    scaled = x * table.multiplier
    row = table.columns[index(scaled, table.low, table.bits, carries[0])]
    above = sum(
        int(check.column[index(scaled, check.low, check.bits, carries[1]), 0])
        for check in table.checks
    )
    intercept, slope = (int(v) for v in row[:2].view(np.int64))
    return (intercept + slope * scaled) * 2.0**-table.scale, int(row[2]) + above


def telling(table: Table, bound: int) -> list[int]:
    """Inputs around every border: of range, cells, window and its quarters, bound."""
    unit = 2**table.low
    window = unit * 2**table.bits
    borders = [0, table.lowest * table.multiplier, table.highest * table.multiplier]
    borders += [quarter * window // 4 for quarter in range(-6, 24)]
    borders += [sign * 2**j for j in range(64) for sign in (1, -1)]
    steps = [n * unit // table.multiplier + d for n in range(-4, 5) for d in (-1, 0, 1)]
    found = {border // table.multiplier + step for border in borders for step in steps}
    found |= {bound - d for d in range(3)} | {d - bound for d in range(3)}
    return sorted(x for x in found if abs(x) <= bound)


def check(table: Table, bound: int, function) -> None:
    cell = (
        table.lowest * table.multiplier >> table.low,
        table.highest * table.multiplier >> table.low,
    )
    for x in telling(table, bound):
        at = x * table.multiplier >> table.low
        for carries in CARRIES:
            value, outside = look_up(table, x, carries)
            if table.lowest <= x <= table.highest:
                assert not outside, (
                    f"{x} is in [{table.lowest}, {table.highest}] and raises the flag"
                )
                assert (
                    function is None
                    or abs(value / function(x) - 1) <= table.error * 1.001 + 2.0**-40
                ), f"f({x}) comes out as {value}; the table claims an error of {table.error}"
            elif at > cell[1] + 1 or at < cell[0] - 1:
                assert outside, (
                    f"{x} is out of [{table.lowest}, {table.highest}] by more than the cell slop "
                    f"and raises no flag (carries {carries})"
                )


RANGES = st.tuples(st.integers(1, 2**40), st.floats(1.01, 4000.0), st.floats(0, 12.0))


@pytest.mark.parametrize("kind", [reciprocal, rsqrt])
@checked(40)
@given(where=RANGES)
def test_no_input_passes_silently(kind, where) -> None:
    lowest, ratio, reach = where
    highest = max(lowest + 1, int(lowest * ratio))
    bound = int(highest * 2**reach)
    assume(bound < 2**54)
    try:
        table = kind(lowest, highest, bound)
    except ModelError:
        assume(False)
    assert table.error <= 2.0**-11, "a worse table than asked for was taken"
    check(table, bound, (lambda x: 1 / x) if kind is reciprocal else (lambda x: x**-0.5))


@pytest.mark.parametrize("bits", [6, 7, 8, 10])
@checked(40)
@given(where=RANGES)
def test_no_input_passes_silently_whatever_the_size(bits: int, where) -> None:
    lowest, ratio, reach = where
    highest = max(lowest + 1, int(lowest * min(ratio, 2 ** (bits - 4))))
    bound = int(highest * 2**reach)
    assume(bound < 2**54)
    try:
        table = fit(lambda x: 1.0 / x, lowest, highest, bound, bits=bits)
    except ModelError:
        assume(False)
    assert table.bits == bits
    check(table, bound, lambda x: 1 / x)


@pytest.mark.parametrize("highest", [48, 96, 3 * 2**20, 3 * 2**30, 3 * 2**40])
def test_a_range_that_fills_the_window_exactly(highest: int) -> None:
    """Its last cell must not be the one that a negative input of a quarter window falls into."""
    for bits in (6, 8, 10):
        table = fit(lambda x: 1.0 / x, highest // 2, highest, highest * 64, bits=bits)
        check(table, highest * 64, lambda x: 1 / x)


def test_every_value_of_a_small_range() -> None:
    table = fit(lambda x: 1.0 / x, 40, 300, 5000, bits=6)
    for x in range(-5000, 5001):
        at = x * table.multiplier >> table.low
        for carries in CARRIES:
            _, outside = look_up(table, x, carries)
            if 40 <= x <= 300:
                assert not outside, f"{x} raises the flag"
            elif (
                not (40 * table.multiplier >> table.low) - 1
                <= at
                <= (300 * table.multiplier >> table.low) + 1
            ):
                assert outside, f"{x} raises no flag"


def test_a_range_from_the_first_cell_is_refused_or_refined() -> None:
    """An index one below cell 0 would be the last one, which marks inputs out of range."""
    table = fit(lambda x: np.sqrt(x), 3, 3000, 2**20, tolerance=1.0)
    assert (3 * table.multiplier >> table.low) >= 1, "the range starts in cell 0"
    check(table, 2**20, lambda x: x**0.5)
    with pytest.raises(ModelError, match="too wide"):
        reciprocal(1, 2**30, 2**31)


@pytest.mark.parametrize("wrong", [(0, 5, 9), (-2, 5, 9), (5, 5, 9), (6, 5, 9), (1, 10, 9)])
def test_ranges_that_make_no_sense(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="no sense"):
        reciprocal(*wrong)


def test_a_bound_beyond_the_ring() -> None:
    with pytest.raises(ModelError, match="leaves the ring"):
        reciprocal(2**58, 2**59, 2**62)


@checked(60)
@given(ring=st.integers(18, 64), ratio=st.floats(1.5, 20.0), reach=st.floats(0, 6.0))
def test_what_a_table_reads_and_writes_fits_its_ring(ring: int, ratio: float, reach) -> None:
    lowest = 2 ** (ring - 15)
    highest = int(lowest * ratio)
    bound = int(highest * 2**reach)
    try:
        table = fit(lambda x: 1.0 / x, lowest, highest, bound, bits=6, ring=ring)
    except ModelError:
        assume(False)
    limit = 2 ** (ring - 2)
    assert table.ring == ring
    assert bound * table.multiplier < limit, "a scaled input leaves the ring"
    for check_ in (table, *table.checks):
        assert check_.low + check_.bits <= ring, "an index has bits that the ring has not"
    check(table, bound, None)
    for x in (lowest, (lowest + highest) // 2, highest):
        for carries in CARRIES:
            value = look_up(table, x, carries)[0] * 2.0**table.scale
            assert abs(value) < limit, f"f({x}) is {value}, too large for a ring of {ring} bits"


def test_a_bound_beyond_a_small_ring() -> None:
    fit(lambda x: 1.0 / x, 2**10, 2**14, 2**17, bits=8, ring=22)
    with pytest.raises(ModelError, match="leaves the ring"):
        fit(lambda x: 1.0 / x, 2**10, 2**14, 2**17, bits=8, ring=18)


@given(window=st.integers(3, 24), reach=st.integers(0, 34), data=st.data())
def test_a_chain_of_checks_sees_all_beyond_the_window(window: int, reach: int, data) -> None:
    bound = 2 ** (window + reach)
    checks = checks_beyond(window, bound)
    assert all(check.bits <= CHECK_BITS for check in checks)
    quarter = 2 ** (window - 2)
    borders = [2 ** (c.low + c.bits) * sign for c in checks for sign in (1, -1)]
    borders += [3 * quarter, 4 * quarter, -quarter, bound, -bound, 0]
    x = data.draw(st.sampled_from(borders)) + data.draw(st.integers(-3, 3)) * data.draw(
        st.sampled_from([1, *(2**c.low for c in checks)])
    )
    assume(abs(x) <= bound)
    # Each check may lose a carry or not, apart from the others.
    seen = [{int(c.column[index(x, c.low, c.bits, k), 0]) for k in (0, 1)} for c in checks]
    if 0 <= x < 3 * quarter:
        assert all(marks == {0} for marks in seen), f"{x} is in the window and marked"
    elif x >= 4 * quarter or x < -quarter:
        assert {1} in seen, f"{x} is beyond the window and may pass"
