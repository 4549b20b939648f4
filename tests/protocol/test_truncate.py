"""Dropping bits into a smaller ring: each party by itself, right to one unit for every element."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.protocol.harness import (
    SEEDS,
    SHAPES,
    anywhere,
    as_additive,
    assert_dropped,
    checked,
    play,
    ring_product,
    values,
)

from veilform.masks import Columns, Drop
from veilform.protocol.effects import together
from veilform.protocol.multiply import multiply, square
from veilform.protocol.opening import open_value
from veilform.protocol.party import Party
from veilform.protocol.share import preshare
from veilform.protocol.truncate import drop, rounded
from veilform.roles import CLIENT, SERVER
from veilform.values import Additive

TINY = [(ring, shift) for ring in range(2, 8) for shift in range(1, ring)]
DROPS = st.integers(2, 64).flatmap(lambda ring: st.tuples(st.just(ring), st.integers(1, ring - 1)))
FORMS = pytest.mark.parametrize("preshared", [False, True], ids=["additive", "preshared"])


def dropping(shift: int, bits: int | None, preshared: bool):
    def program(me, a):
        x = (yield from preshare(me, a)) if preshared else a
        return drop(me, x, shift, bits), x

    return program


def all_sharings(ring: int, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """Every x of the ring, and for each (a row) the result for every client's share."""
    every = np.arange(1 << ring, dtype=np.uint64)
    x, ours = every[:, None], np.broadcast_to(every, (1 << ring, 1 << ring))
    parts = [
        drop(Party(role), Additive(share, ring), shift)
        for role, share in ((CLIENT, ours), (SERVER, x - ours))
    ]
    assert {part.bits for part in parts} == {ring - shift}
    return x, (parts[0].share + parts[1].share) & np.uint64((1 << ring - shift) - 1)


@pytest.mark.parametrize(("ring", "shift"), TINY)
def test_rounded_has_no_bias_and_leaves_multiples(ring: int, shift: int) -> None:
    """Over all sharings of each value: down or up, its mean exact; a multiple always exact."""
    every = np.arange(1 << ring, dtype=np.uint64)
    x, ours = every[:, None], np.broadcast_to(every, (1 << ring, 1 << ring))
    parts = [
        rounded(Party(role), Additive(share, ring), shift)
        for role, share in ((CLIENT, ours), (SERVER, x - ours))
    ]
    down, size = x >> np.uint64(shift), np.uint64((1 << ring - shift) - 1)
    up = (parts[0].share + parts[1].share - down) & size
    low = x[:, 0] & np.uint64((1 << shift) - 1)
    assert up.max() <= 1, "rounded by more than one unit"
    assert np.array_equal(up.sum(1), low << np.uint64(ring - shift)), "rounded with a bias"


@pytest.mark.parametrize(("ring", "shift"), TINY)
def test_every_value_and_every_sharing(ring: int, shift: int) -> None:
    x, got = all_sharings(ring, shift)
    off = (got - (x >> np.uint64(shift))) & np.uint64((1 << ring - shift) - 1)
    assert off.max() <= 1, f"{shift} bits of {ring} dropped: off by {np.unique(off)}"


@pytest.mark.parametrize(("ring", "shift"), [(r, s) for r, s in TINY if r - s > 1])
def test_over_all_sharings_the_mean_error_is_the_smallest_there_is(ring: int, shift: int) -> None:
    """For every x the mean of the result is (x + 1) / 2^shift: 2^-shift of a unit too much."""
    x, got = all_sharings(ring, shift)
    off = (got - (x >> np.uint64(shift))) & np.uint64((1 << ring - shift) - 1)
    low = x[:, 0] & np.uint64((1 << shift) - 1)
    sums = off.sum(axis=1) << np.uint64(shift)
    assert np.array_equal(sums, (low + np.uint64(1)) << np.uint64(ring)), "the rounding is biased"


@FORMS
@checked(120)
@given(shape=SHAPES, rings=DROPS, seed=SEEDS)
def test_dropping_is_right_for_every_element(preshared: bool, shape, rings, seed: int) -> None:
    ring, shift = rings
    x = anywhere(np.random.default_rng(seed), shape, ring)
    out = play(dropping(shift, None, preshared), [x], rings=[ring], seed=seed)
    assert out.client[0].bits == ring - shift, "the result is in another ring"
    assert_dropped(out.joined(0), x, shift, ring - shift, "a drop")


@FORMS
@checked(60)
@given(rings=DROPS, smaller=st.integers(0, 63), seed=SEEDS)
def test_into_a_smaller_ring_still(preshared: bool, rings, smaller: int, seed: int) -> None:
    ring, shift = rings
    bits = max(1, ring - shift - smaller)
    x = anywhere(np.random.default_rng(seed), (20,), ring)
    out = play(dropping(shift, bits, preshared), [x], rings=[ring], seed=seed)
    assert out.client[0].bits == bits, "the result is in another ring"
    assert_dropped(out.joined(0), x, shift, bits, "a drop")


def test_nothing_is_sent_or_dealt() -> None:
    out = play(dropping(9, None, False), [np.ones(5, np.int64)], rings=[40])
    assert (out.trace.specs, out.trace.up, out.trace.down) == ((), (), ())
    assert out.trace.total.offline_bytes == 0


def test_a_ring_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="of 30 bits cannot be read in a ring of 31"):
        play(dropping(10, 31, False), [np.ones(1, np.int64)], rings=[40])


def test_bits_are_not_dropped_by_a_view_alone() -> None:
    """The view moves share and mask, but the ring and the server's unit would be forgotten."""

    def program(me, a):
        return (yield from preshare(me, a)).view(Drop(40, 3))

    with pytest.raises(ValueError, match="drop"):
        play(program, [np.ones(1, np.int64)], rings=[40])


def test_the_mask_follows() -> None:
    """What the dealer makes of the mask's name is what the client holds, through every view."""
    x = anywhere(np.random.default_rng(4), (3, 8), 50)

    def program(me, a):
        held = yield from preshare(me, a)
        once = drop(me, held.view(Columns(2, 6)), 11)
        return drop(me, once.narrowed(30), 7), held

    out = play(program, [x], rings=[50])
    dropped, held = out.client
    assert dropped.bits == 23
    assert np.array_equal(dropped.mask.of(held.share), dropped.share), "the named mask is another"


@checked(60)
@given(seed=SEEDS, first=st.integers(1, 20), second=st.integers(1, 20))
def test_drops_chain(seed: int, first: int, second: int) -> None:
    x = anywhere(np.random.default_rng(seed), (40,), 60)

    def program(me, a):
        once = drop(me, (yield from preshare(me, a)), first)
        return once, drop(me, once, second)

    out = play(program, [x], rings=[60], seed=seed)
    assert_dropped(out.joined(0), x, first, 60 - first, "the first drop")
    assert_dropped(out.joined(1), out.joined(0), second, 60 - first - second, "the second drop")


@FORMS
@checked(60)
@given(seed=SEEDS, ring=st.integers(24, 40), first=st.integers(1, 12), second=st.integers(1, 20))
def test_a_layer_s_chain(preshared: bool, seed: int, ring: int, first: int, second: int) -> None:
    """Drop, lift, square and multiply, drop, preshare, drop, lift: as layers are made of."""
    width = ring - first
    rng = np.random.default_rng(seed)
    # What is dropped to fewer than width - 2 bits can be lifted.
    x = values(rng, (30,), ring - 3)
    y = values(rng, (30,), 10)

    def program(me, a, b):
        held = (yield from preshare(me, a)) if preshared else a
        dropped = drop(me, held, first)
        opened, other = yield from together(
            open_value(me, dropped, 64), open_value(me, b.narrowed(12), 60)
        )
        squares = yield from square(me, opened)
        product = yield from multiply(me, opened, other)
        fixed = yield from preshare(me, drop(me, product, second))
        again = yield from open_value(me, fixed)
        part = [as_additive(me, one) for one in (dropped, opened, other)]
        return *part, squares, product, fixed, as_additive(me, again)

    out = play(program, [x, y], rings=[ring, 20], seed=seed)
    got = [out.joined(i) for i in range(7)]
    assert_dropped(got[0], x, first, width, "the first drop")
    assert np.array_equal(got[1], got[0]), "lifting what was dropped is not exact"
    assert np.array_equal(got[2], y), "lifting what was narrowed is not exact"
    assert np.array_equal(got[3], ring_product(got[1], got[1], 64)), "the square is wrong"
    assert np.array_equal(got[4], ring_product(got[1], got[2], 60)), "the product is wrong"
    assert_dropped(got[5], got[4], second, 60 - second, "what was dropped of the product")
    assert np.array_equal(got[6], got[5]), "the last opening is not exact"


def test_the_unit_that_a_drop_adds_does_not_leave_what_may_be_lifted() -> None:
    """Below 2^(k-2) in size before, it is 2^(k-2-t) at most: the last value that may be lifted."""
    top = 2**28
    x = np.repeat(np.array([top - 1, top - 2**10, -top, -top + 1]), 500)

    def program(me, a):
        dropped = drop(me, a, 10)
        return as_additive(me, (yield from open_value(me, dropped, 64))), dropped

    out = play(program, [x], rings=[30])
    assert out.joined(1).max() == 2**18, "no value reaches the edge"
    assert np.array_equal(out.joined(0), out.joined(1)), "a lift at the edge is not exact"
