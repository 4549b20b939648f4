"""Exact views of comparisons and curves over ideal keys, and what can be said of the real keys."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
from tests.views.enumeration import Enumeration, Run
from tests.views.ideal import ideal_lookups as ideal_lookups
from tests.views.test_exhaustive import assert_blind, everything

from veilform import kernels
from veilform.correlation import specs
from veilform.protocol.compare import (
    _is_outside,
    arithmetic,
    at_least,
    choose,
    clipped_relu,
    maximum,
    relu,
)
from veilform.protocol.curve import curve
from veilform.protocol.effects import BOTH, Take, Transfer
from veilform.protocol.opening import open_value
from veilform.protocol.share import preshare
from veilform.ring import signed
from veilform.roles import CLIENT, SERVER, Role

pytestmark = pytest.mark.usefixtures("ideal_lookups")

DRAWS = {CLIENT: 256, SERVER: 4}
"""Of a party's own randomness. The rest is enumerated; the client expands most of it."""

SEERS = pytest.mark.parametrize("seer", [CLIENT, SERVER], ids=["client", "server"])


def is_relu(space: Enumeration, ring: int, limit: int | None = None):
    def check(run: Run, client: Sequence[int], server: Sequence[int]) -> None:
        x = space.signed(client[0], server[0])
        if limit is None or abs(x) <= limit:
            wanted = int(signed(np.array([max(x, 0)], np.uint64), ring)[0])
            assert (space.joined(run) == wanted).all(), f"relu of {x} comes out wrong"

    return check


@SEERS
@pytest.mark.parametrize("preshared", [False, True], ids=["additive", "preshared"])
def test_relu(seer: Role, preshared: bool) -> None:
    def program(me, a):
        x = (yield from preshare(me, a)) if preshared else a
        return (yield from relu(me, x))

    space = Enumeration(program, 3, sampled=seer, samples=DRAWS[seer])
    assert_blind(space, seer, everything(3), [(0,), (5,)], is_relu(space, 3))


@SEERS
def test_relu_of_a_lifted_value(seer: Role) -> None:
    space = Enumeration(lambda me, a: relu(me, a, 3), 2, sampled=seer, samples=DRAWS[seer])
    assert_blind(space, seer, everything(2), everything(2), is_relu(space, 3, 1))


@SEERS
@pytest.mark.parametrize("preshared", [False, True], ids=["additive", "preshared"])
def test_clipped_relu(seer: Role, preshared: bool) -> None:
    def program(me, a):
        x = (yield from preshare(me, a)) if preshared else a
        return (yield from clipped_relu(me, x, 1))

    space = Enumeration(program, 3, sampled=seer, samples=64 if seer is CLIENT else 1)

    def check(run: Run, client: Sequence[int], server: Sequence[int]) -> None:
        x = space.signed(client[0], server[0])
        if abs(x) <= 2:
            assert (space.joined(run) == min(max(x, 0), 1)).all(), f"{x} is clipped wrongly"

    assert_blind(space, seer, everything(3), [(0,), (5,)], check)


@SEERS
def test_two_thresholds_with_one_key(seer: Role) -> None:
    def program(me, a):
        y = yield from open_value(me, a)
        one, two = yield from at_least(me, y, (-1, 1))
        return (yield from choose(me, one, y)), (yield from arithmetic(me, two, 2))

    space = Enumeration(program, 3, sampled=seer, samples=64 if seer is CLIENT else 1)

    def check(run: Run, client: Sequence[int], server: Sequence[int]) -> None:
        x = space.signed(client[0], server[0])
        # x - 1 and x + 1 must have a sign in the ring.
        if -3 <= x <= 2:
            assert (space.joined(run, 0) == (x if x >= -1 else 0)).all(), f"{x} against -1"
            assert (space.joined(run, 1) % 4 == (x >= 1)).all(), f"{x} against 1"

    assert_blind(space, seer, everything(3), [(0,), (3,), (6,)], check)


@SEERS
def test_outside(seer: Role) -> None:
    def program(me, a):
        y = yield from open_value(me, a)
        return (yield from arithmetic(me, (yield from _is_outside(me, y, -1, 2)), 1))

    space = Enumeration(program, 3, sampled=seer, samples=DRAWS[seer])

    def check(run: Run, client: Sequence[int], server: Sequence[int]) -> None:
        x = space.signed(client[0], server[0])
        assert (space.joined(run) % 2 == (not -1 <= x < 2)).all(), (
            f"{x} is taken for outside, or not"
        )

    assert_blind(space, seer, everything(3), [(0,), (7,)], check)


@SEERS
def test_maximum(seer: Role) -> None:
    space = Enumeration(maximum, 2, [(), ()])

    def check(run: Run, client: Sequence[int], server: Sequence[int]) -> None:
        a, b = (space.signed(client[i], server[i], index=i) for i in (0, 1))
        if -2 <= a - b < 2:
            assert (space.joined(run) == max(a, b)).all(), f"of {a} and {b}"

    assert_blind(space, seer, everything(2, 2), [(1, 3)], check)


def lines(width: int, low: int, ring: int) -> SimpleNamespace:
    """Any lines: one for each cell."""
    columns = np.random.default_rng(width).integers(0, 1 << ring, (1 << width - low, 2), np.uint64)
    return SimpleNamespace(width=width, low=low, bits=width - low, ring=ring, columns=columns)


def is_a_line(space: Enumeration, of: SimpleNamespace):
    """The line of x's cell, or of the next; but for the ring's highest cell, which may go round."""

    def check(run: Run, client: Sequence[int], server: Sequence[int]) -> None:
        x = space.signed(client[0], server[0])
        cell = (x + (1 << of.width - 1)) >> of.low
        if cell == (1 << of.bits) - 1 and of.low:
            return
        rows = of.columns[cell : cell + 2 if of.low else cell + 1]
        wanted = signed(rows[:, 0] + rows[:, 1] * np.array([x]).view(np.uint64), of.ring)
        assert np.isin(space.joined(run), wanted).all(), f"the line at {x} is wrong"

    return check


@SEERS
def test_curve(seer: Role) -> None:
    of = lines(2, 0, 2)
    draws = 256 if seer is CLIENT else 1
    space = Enumeration(lambda me, a: _curve(me, a, of), 2, sampled=seer, samples=draws)
    assert_blind(space, seer, everything(2), [(3,)], is_a_line(space, of))


@pytest.mark.parametrize(("width", "low", "ring"), [(3, 1, 3), (3, 1, 5), (2, 0, 4)])
def test_curve_into_a_larger_ring(width: int, low: int, ring: int) -> None:
    of = lines(width, low, ring)
    space = Enumeration(lambda me, a: _curve(me, a, of), width, sampled=CLIENT, samples=256)
    check = is_a_line(space, of)
    assert_blind(space, CLIENT, everything(width), everything(width), check)


def _curve(me, a, of: SimpleNamespace):
    return (yield from curve(me, (yield from open_value(me, a)), of))


# --- Protocols that are wrong on purpose -----------------------------------------------------


def bits_without_a_flip(me, a):
    """Each party's share of the sign, shown as it is."""
    y = yield from open_value(me, a)
    taken = yield Take(specs.Compare("compare:0", 1 if y.y.size == 1 else y.y.size, 2, y.ref))
    (share,) = me.below(taken, 2, [y.y & np.uint64(3)])
    yield Transfer(a.shape, 1, BOTH, share)


def one_flip_for_two_thresholds(me, a):
    y = yield from open_value(me, a)
    taken = yield Take(specs.Compare("compare:0", y.y.size, 2, y.ref))
    flip = yield Take(specs.Bit("bit:0", a.shape, 3, y.ref))
    for one in me.below(taken, 2, [y.y & np.uint64(3), (y.y + 1) & np.uint64(3)]):
        yield Transfer(a.shape, 1, BOTH, one ^ flip["flip"])


@SEERS
@pytest.mark.parametrize("program", [bits_without_a_flip, one_flip_for_two_thresholds])
def test_leaks_are_found(program, seer: Role) -> None:
    with pytest.raises(AssertionError, match="can tell"):
        assert_blind(Enumeration(program, 3), seer, everything(3), [(1,)])


# --- The real keys -------------------------------------------------------------------------------


def keys(rng: np.random.Generator, alpha: int, count: int, bits: int):
    roots = [rng.integers(0, 256, (count, 16), np.uint8) for _ in range(2)]
    return kernels.compare_generate(*roots, np.full(count, alpha, np.uint64), bits)


@pytest.mark.parametrize("alpha", [0, 4_095, 1_365])
def test_every_bit_of_a_key_is_balanced_whatever_it_hides(alpha: int) -> None:
    count, n = 40_000, 12
    blocks, right_bits = keys(np.random.default_rng(alpha), alpha, count, n)
    bits = np.unpackbits(blocks.reshape(count, -1), axis=1)
    turns = right_bits[:, None] >> np.arange(n - 7, dtype=np.uint64) & np.uint64(1)
    for column in (bits, turns):
        lean = np.abs(column.mean(axis=0) - 0.5).max()
        assert lean < 6 * 0.5 / np.sqrt(count), f"a bit of a key leans by {lean}"


def test_bits_of_a_key_are_not_correlated() -> None:
    count = 4_000
    for alpha in (0, 300, 1_023):
        blocks, right_bits = keys(np.random.default_rng(alpha), alpha, count, 10)
        flat = np.concatenate(
            [blocks.reshape(count, -1)[:, ::3], right_bits.astype(np.uint8)[:, None]], axis=1
        )
        signs = np.unpackbits(flat, axis=1).astype(np.float64) * 2 - 1
        signs = signs[:, np.abs(signs.mean(0)) < 0.5]
        correlation = signs.T @ signs / count
        np.fill_diagonal(correlation, 0)
        assert np.abs(correlation).max() < 6.5 / np.sqrt(count), "bits of a key are correlated"


def test_a_key_follows_the_number_only_from_where_paths_part() -> None:
    rng = np.random.default_rng(9)
    roots = [rng.integers(0, 256, (1, 16), np.uint8) for _ in range(2)]
    made = [
        kernels.compare_generate(*roots, np.array([alpha], np.uint64), 11)[0]
        for alpha in (0b0000_0000000, 0b0000_1111111, 0b0001_0000000)
    ]
    assert np.array_equal(made[0][:, :4], made[1][:, :4]), "equal upper bits, other words"
    assert np.array_equal(made[0][:, :3], made[2][:, :3]), "equal prefixes, other words"
    assert not np.array_equal(made[0][:, 4], made[1][:, 4]), "the last block ignores the number"
