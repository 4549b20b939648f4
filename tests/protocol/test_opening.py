"""Openings, lifts to a larger ring, and bits of a value as an index."""

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
    checked,
    play,
    values,
)

from veilform.masks import Centre, Columns, Drop
from veilform.protocol.lookup import select
from veilform.protocol.opening import open_index, open_value
from veilform.protocol.share import preshare
from veilform.values import Additive

FORMS = pytest.mark.parametrize("preshared", [False, True], ids=["additive", "preshared"])
LIFTS = st.integers(2, 63).flatmap(lambda w: st.tuples(st.just(w), st.integers(w + 1, 64)))
"""A ring, and a larger one."""


def opening(bits: int | None, preshared: bool):
    def program(me, a):
        x = (yield from preshare(me, a)) if preshared else a
        opened = yield from open_value(me, x, bits)
        return as_additive(me, opened), opened

    return program


def liftable(width: int) -> np.ndarray:
    """Every value that may be lifted, or, of many, those around the edges.

    2^(width - 2) itself is the last: a drop may add a unit to the largest that is planned.
    """
    quarter = 2 ** (width - 2)
    if width <= 8:
        return np.arange(-quarter, quarter + 1)
    near = {sign * (2**j + d) for j in range(width - 1) for d in (-1, 0, 1) for sign in (1, -1)}
    return np.array(sorted(v for v in near if abs(v) <= quarter), np.int64)


@FORMS
@checked(60)
@given(shape=SHAPES, ring=st.integers(1, 64), seed=SEEDS)
def test_an_opening_keeps_every_ring_element(preshared: bool, shape, ring: int, seed: int) -> None:
    x = anywhere(np.random.default_rng(seed), shape, ring)
    out = play(opening(None, preshared), [x], rings=[ring], seed=seed)
    assert np.array_equal(out.joined(0), x), f"an opening in a ring of {ring} bits is not exact"
    assert np.array_equal(out.client[1].y, out.server[1].y), "the parties see different openings"
    assert int(out.client[1].y.max()) < 2**ring, "what was opened has more bits than its ring"
    assert out.client[1].width == out.client[1].bits == ring


@FORMS
@checked(120)
@given(rings=LIFTS, seed=SEEDS)
def test_a_lift_is_exact(preshared: bool, rings: tuple[int, int], seed: int) -> None:
    width, bits = rings
    rng = np.random.default_rng(seed)
    x = liftable(width)
    if width > 3:
        x = np.concatenate([x, values(rng, (40,), width - 2)])
    out = play(opening(bits, preshared), [x], rings=[width], seed=seed)
    wrong = out.joined(0) != x
    assert not wrong.any(), f"{x[wrong]} of {width} bits, lifted to {bits}: {out.joined(0)[wrong]}"
    assert np.array_equal(out.client[1].y, out.server[1].y), "the parties see different openings"
    assert (out.client[1].width, out.client[1].bits) == rings


@FORMS
@pytest.mark.parametrize("width", range(2, 8))
def test_every_value_of_a_small_ring_to_every_ring(preshared: bool, width: int) -> None:
    x = np.repeat(liftable(width), 16)
    for bits in range(width + 1, 65):
        got = play(opening(bits, preshared), [x], rings=[width], seed=bits).joined(0)
        assert np.array_equal(got, x), f"a lift from {width} to {bits} bits is not exact"


@pytest.mark.parametrize(("width", "x"), [(4, 5), (4, -5), (30, 3 * 2**27), (62, -3 * 2**59)])
def test_beyond_its_bound_a_lift_goes_wrong(width: int, x: int) -> None:
    """What the planned rings are for: such a value wraps, now and then."""
    far = np.full(1000, x, np.int64)
    got = play(opening(64, False), [far], rings=[width]).joined(0)
    assert (got != x).any(), f"{x} of {width} bits is lifted right though it is out of bounds"


def test_no_smaller_ring_is_a_lift() -> None:
    """A value is read in a smaller ring before it is opened, not by opening it."""
    x = anywhere(np.random.default_rng(1), (30,), 20)
    with pytest.raises(ValueError, match="of 20 bits is not lifted to 12; narrow it"):
        play(opening(12, False), [x], rings=[20])


def test_what_an_opened_value_may_be_seen_through() -> None:
    x = values(np.random.default_rng(3), (2, 6), 20)

    def program(me, a):
        opened = yield from open_value(me, a, 40)
        for view in (Centre(), Drop(40, 3)):
            with pytest.raises(ValueError, match="cannot be summed"):
                opened.view(view)
        whole = yield from open_value(me, a)
        with pytest.raises(ValueError, match="bits of an opened one"):
            whole.view(Drop(24, 3))
        return as_additive(me, opened.view(Columns(1, 4))), as_additive(me, whole.view(Centre()))

    out = play(program, [x], rings=[24])
    assert np.array_equal(out.joined(0), x[:, 1:4]), "columns of a lifted value are wrong"
    centred = ((x * 6 - x.sum(-1, keepdims=True)) + 2**23) % 2**24 - 2**23
    assert np.array_equal(out.joined(1), centred), "a value centred after its opening is wrong"


# --- Indices -------------------------------------------------------------------------------------

INDICES = st.integers(1, 16).flatmap(
    lambda bits: st.tuples(st.just(bits), st.integers(0, 64 - bits))
)


@checked(60)
@given(shape=SHAPES, seed=SEEDS, where=INDICES, spare=st.integers(0, 20))
def test_an_index_is_public_and_small(shape, seed: int, where, spare: int) -> None:
    bits, low = where
    ring = min(64, low + bits + spare)
    x = anywhere(np.random.default_rng(seed), shape, ring)
    out = play(lambda me, a: open_index(me, a, low, bits), [x], rings=[ring], seed=seed)
    assert np.array_equal(out.client.y, out.server.y), "the parties see different indices"
    assert out.client.mask == out.server.mask, "the parties name different masks"
    assert int(out.client.y.max()) < 2**bits, "an index is too large"


@checked(80)
@given(seed=SEEDS, bits=st.integers(1, 10), low=st.integers(0, 54), spare=st.integers(0, 20))
def test_a_looked_up_index_is_the_bits_or_one_below(
    seed: int, bits: int, low: int, spare: int
) -> None:
    ring = min(64, low + bits + spare)
    x = anywhere(np.random.default_rng(seed), (9,), ring)
    identity = np.arange(2**bits, dtype=np.uint64)[:, None]

    def program(me, a):
        index = yield from open_index(me, a, low, bits)
        got, _ = yield from select(me, index, identity)
        return Additive(got[..., 0], 64)

    got = play(program, [x], rings=[ring], seed=seed).joined()
    below = ((x >> np.int64(low)) - got) & np.int64(2**bits - 1)
    allowed = [0] if low == 0 else [0, 1]
    assert np.isin(below, allowed).all(), f"bits {low} to {low + bits} of {x} came out as {got}"


def test_an_index_beyond_the_ring_is_refused() -> None:
    with pytest.raises(ValueError, match="bits 3 to 9 of a value that has 8"):
        play(lambda me, a: open_index(me, a, 3, 6), [np.ones(2, np.int64)], rings=[8])
