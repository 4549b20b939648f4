"""Tables in the clear: what each index answers, and that what leaves the range is seen."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.protocol.harness import checked

from veilform.errors import ModelError
from veilform.protocol.tables import Table, fit, reciprocal, rsqrt


def index(table: Table, x: int, carry: int) -> int:
    """The opened index; exact where no bits are dropped."""
    return ((x >> table.low) - (carry if table.low else 0)) % 2**table.bits


def starts(table: Table, i: int) -> Iterator[int]:
    """Where a segment that holds index i may start: of every length, once in every row."""
    first, last, fine, grid, _ = table.segments
    for bits in range(table.bits):
        length = 1 << bits
        lowest = max(i - length + 1, first, length << fine)
        highest = min(i, last - length + 1)
        if lowest <= highest:
            row = max(1, 1 << (lowest.bit_length() - 1 - grid))
            yield from {*range(lowest, highest, row), highest}


def answers(table: Table, x: int) -> Iterator[float | None]:
    """Every output that x may get, as a real number; None where it counts as out of range."""
    first, last, _, grid, rows = table.segments
    for carry in (0, 1):
        i = index(table, x, carry)
        if not first <= i <= last:
            yield None
            continue
        for start in starts(table, i):
            octave = start.bit_length() - first.bit_length()
            row = rows[(octave << grid) + (start >> (start.bit_length() - 1 - grid)) - (1 << grid)]
            intercept, slope = (int(v) for v in row.view(np.int64))
            yield (intercept + slope * x) * 2.0**-table.scale


def telling(table: Table, bound: int) -> list[int]:
    """Inputs around every border: of range, cells, octaves, bound."""
    unit = 2**table.low
    borders = [0, table.lowest, table.highest]
    borders += [sign * 2**j for j in range(64) for sign in (1, -1)]
    steps = [n * unit + d for n in range(-4, 5) for d in (-1, 0, 1)]
    found = {border + step for border in borders for step in steps}
    found |= {bound - d for d in range(3)} | {d - bound for d in range(3)}
    found |= set(np.linspace(table.lowest, table.highest, 50).astype(np.int64).tolist())
    return sorted(x for x in found if abs(x) <= bound)


def check(table: Table, bound: int, function) -> None:
    low, high = table.lowest >> table.low, table.highest >> table.low
    for x in telling(table, bound):
        found = list(answers(table, x))
        if table.lowest <= x <= table.highest:
            assert found, f"no segment may hold {x}"
            assert None not in found, (
                f"{x} is in [{table.lowest}, {table.highest}] and raises the flag"
            )
            for value in found:
                off = abs(value / function(x) - 1)
                assert off <= table.error * 1.05 + 2.0**-40, (
                    f"f({x}) comes out as {value}; the table claims an error of {table.error}"
                )
        elif not low - 1 <= x >> table.low <= high + 1:
            assert set(found) == {None}, (
                f"{x} is out of [{table.lowest}, {table.highest}] by two cells and may pass"
            )


RANGES = st.tuples(st.integers(20, 2**40), st.floats(1.01, 4000.0), st.floats(0, 12.0))
FUNCTIONS = {reciprocal: lambda x: 1 / x, rsqrt: lambda x: x**-0.5}


@pytest.mark.parametrize("kind", FUNCTIONS)
@checked(40)
@given(where=RANGES, tolerance=st.integers(6, 12))
def test_no_input_passes_silently_and_every_answer_is_good(kind, where, tolerance) -> None:
    lowest, ratio, reach = where
    highest = max(lowest + 1, int(lowest * ratio))
    bound = int(highest * 2**reach)
    assume(bound < 2**54)
    try:
        table = kind(lowest, highest, bound, 2.0**-tolerance)
    except ModelError:
        assume(False)
    assert table.error <= 2.0**-tolerance, "a worse table than asked for was taken"
    check(table, bound, FUNCTIONS[kind])


def test_every_value_of_a_small_range() -> None:
    table = fit(lambda x: 1.0 / x, 40, 300, 5000, tolerance=2.0**-5)
    low, high = 40 >> table.low, 300 >> table.low
    for x in range(-5000, 5001):
        found = list(answers(table, x))
        if 40 <= x <= 300:
            assert found, f"no segment may hold {x}"
            assert None not in found, f"{x} raises the flag"
        elif not low - 1 <= x >> table.low <= high + 1:
            assert set(found) == {None}, f"{x} may pass"


def test_a_range_from_too_few_units_is_refused() -> None:
    """Segments that are short for where they start need a start of many cells."""
    with pytest.raises(ModelError, match="no table is good enough"):
        reciprocal(5, 2**30, 2**31)


@pytest.mark.parametrize("wrong", [(0, 5, 9), (-2, 5, 9), (5, 5, 9), (6, 5, 9), (1, 10, 9)])
def test_ranges_that_make_no_sense(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="no sense"):
        reciprocal(*wrong)


def test_a_bound_beyond_the_ring() -> None:
    with pytest.raises(ModelError, match="leaves the ring"):
        reciprocal(2**58, 2**59, 2**63)
    fit(lambda x: 1.0 / x, 2**10, 2**14, 2**19, tolerance=2.0**-7, ring=34)
    with pytest.raises(ModelError, match="leaves the ring"):
        fit(lambda x: 1.0 / x, 2**10, 2**14, 2**17, tolerance=2.0**-7, ring=18)


@checked(60)
@given(ring=st.integers(20, 64), ratio=st.floats(1.5, 20.0), reach=st.floats(0, 6.0))
def test_what_a_table_reads_and_writes_fits_its_ring(ring: int, ratio: float, reach) -> None:
    lowest = 2 ** (ring - 15)
    highest = int(lowest * ratio)
    bound = int(highest * 2**reach)
    try:
        table = fit(lambda x: 1.0 / x, lowest, highest, bound, tolerance=2.0**-5, ring=ring)
    except ModelError:
        assume(False)
    limit = 2 ** (ring - 2)
    assert table.ring == ring
    assert bound < 2 ** (table.low + table.bits - 1), "the index goes round within the bound"
    assert table.low + table.bits <= ring, "an index has bits that the ring has not"
    check(table, bound, lambda x: 1 / x)
    for x in (lowest, (lowest + highest) // 2, highest):
        for value in answers(table, x):
            assert abs(value) * 2.0**table.scale < limit, f"f({x}) is too large for the ring"


def test_a_function_that_is_not_relative() -> None:
    """tanh on a range far from zero, to an absolute error."""
    unit = 2.0**-16
    table = fit(
        lambda x: np.tanh(x * unit - 8), 4 << 16, 12 << 16, 14 << 16, magnitude=1.0, ring=40
    )
    assert table.error <= 2.0**-11
    for x in np.linspace(4 << 16, 12 << 16, 400).astype(np.int64).tolist():
        for value in answers(table, x):
            assert abs(value - np.tanh(x * unit - 8)) <= table.error * 1.05 + 2.0**-30
