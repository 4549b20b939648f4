"""Openings and truncations: every value within 2^62, every form, one unit at most."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.protocol.harness import (
    EDGES,
    SEEDS,
    SHAPES,
    as_additive,
    assert_within_a_unit,
    checked,
    play,
    values,
)

from veilform.protocol.lookup import select
from veilform.protocol.opening import open_index, open_value
from veilform.protocol.share import preshare
from veilform.protocol.truncate import truncate
from veilform.values import Additive


def opening(shift: int, preshared: bool):
    def program(me, a):
        x = (yield from preshare(me, a)) if preshared else a
        opened = yield from open_value(me, x, shift)
        return as_additive(me, opened), opened

    return program


def truncation(shift: int):
    def program(me, a):
        x = yield from preshare(me, a)
        return (yield from truncate(me, x, shift))

    return program


@pytest.mark.parametrize("preshared", [False, True], ids=["additive", "preshared"])
@checked(40)
@given(shape=SHAPES, seed=SEEDS)
def test_an_opening_keeps_every_ring_element(preshared: bool, shape, seed: int) -> None:
    x = np.random.default_rng(seed).integers(-(2**63), 2**63, shape, np.int64)
    out = play(opening(0, preshared), [x], seed=seed)
    assert np.array_equal(out.joined(0), x), "the opening without truncation is not exact"
    assert np.array_equal(out.client[1].y, out.server[1].y), "the parties see different openings"


@pytest.mark.parametrize("preshared", [False, True], ids=["additive", "preshared"])
@checked(80)
@given(shape=SHAPES, seed=SEEDS, shift=st.integers(1, 62))
def test_an_opening_truncates_within_a_unit(preshared: bool, shape, seed: int, shift: int) -> None:
    x = values(np.random.default_rng(seed), shape)
    out = play(opening(shift, preshared), [x], seed=seed)
    assert_within_a_unit(out.joined(0), x, shift, "an opening")


@checked(80)
@given(shape=SHAPES, seed=SEEDS, shift=st.integers(1, 62))
def test_truncation_is_within_a_unit(shape, seed: int, shift: int) -> None:
    x = values(np.random.default_rng(seed), shape)
    out = play(truncation(shift), [x], seed=seed)
    assert_within_a_unit(out.joined(), x, shift, "a truncation")


@pytest.mark.parametrize("shift", [1, 2, 7, 8, 9, 12, 31, 32, 33, 47, 61, 62])
def test_every_edge_at_telling_shifts(shift: int) -> None:
    assert_within_a_unit(play(truncation(shift), [EDGES]).joined(), EDGES, shift, "a truncation")
    for preshared in (False, True):
        got = play(opening(shift, preshared), [EDGES]).joined(0)
        assert_within_a_unit(got, EDGES, shift, "an opening")


@checked(30)
@given(seed=SEEDS, first=st.integers(1, 30), second=st.integers(1, 30))
def test_truncations_chain(seed: int, first: int, second: int) -> None:
    x = values(np.random.default_rng(seed), (40,))

    def program(me, a):
        once = yield from truncate(me, (yield from preshare(me, a)), first)
        twice = yield from truncate(me, once, second)
        opened = yield from open_value(me, once, second)
        return once, twice, as_additive(me, opened)

    out = play(program, [x], seed=seed)
    once = out.joined(0)
    assert_within_a_unit(once, x, first, "the first truncation")
    assert_within_a_unit(out.joined(1), once, second, "the second truncation")
    assert_within_a_unit(out.joined(2), once, second, "an opening of a truncated value")


@checked(60)
@given(shape=SHAPES, seed=SEEDS, bits=st.integers(1, 16), low=st.integers(0, 48))
def test_an_index_is_public_and_small(shape, seed: int, bits: int, low: int) -> None:
    x = values(np.random.default_rng(seed), shape, 63)
    out = play(lambda me, a: open_index(me, a, low, bits), [x], seed=seed)
    assert np.array_equal(out.client.y, out.server.y), "the parties see different indices"
    assert out.client.mask == out.server.mask, "the parties name different masks"
    assert int(out.client.y.max()) < 2**bits, "an index is too large"


@checked(60)
@given(seed=SEEDS, bits=st.integers(1, 10), low=st.integers(0, 54))
def test_a_looked_up_index_is_the_bits_or_one_below(seed: int, bits: int, low: int) -> None:
    x = values(np.random.default_rng(seed), (9,), 63)
    identity = np.arange(2**bits, dtype=np.uint64)[:, None]

    def program(me, a):
        index = yield from open_index(me, a, low, bits)
        got, _ = yield from select(me, index, identity)
        return Additive(got[..., 0])

    got = play(program, [x], seed=seed).joined()
    below = ((x >> np.int64(low)) - got) & np.int64(2**bits - 1)
    allowed = [0] if low == 0 else [0, 1]
    assert np.isin(below, allowed).all(), f"bits {low} to {low + bits} of {x} came out as {got}"
