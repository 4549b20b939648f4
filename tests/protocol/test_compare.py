"""Comparison under sharing: against plain integers, in every ring, lifted or not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.protocol.harness import SEEDS, SHAPES, anywhere, checked, play, values, words

from veilform.masks import Columns, Transpose
from veilform.protocol.compare import (
    arithmetic,
    at_least,
    choose,
    clipped_relu,
    maximum,
    outside,
    relu,
    row_max,
)
from veilform.protocol.cost import Cost
from veilform.protocol.lookup import reveal_checked
from veilform.protocol.opening import open_value
from veilform.protocol.share import preshare
from veilform.ring import signed
from veilform.roles import CLIENT, SERVER
from veilform.values import Additive

RINGS = st.integers(2, 64)


def opened(me, a, preshared: bool, bits: int | None):
    x = (yield from preshare(me, a)) if preshared else a
    return (yield from open_value(me, x, bits))


def w(bits: int) -> int:
    return (max(bits, 0) + 7) // 8


def key(bits: int) -> int:
    """Bytes of a comparison's key."""
    levels = max(bits - 7, 0)
    return 16 * (levels + 1) + w(levels)


@checked(80)
@given(shape=SHAPES, ring=RINGS, seed=SEEDS, preshared=st.booleans())
def test_signs_of_any_ring_element(shape, ring: int, seed: int, preshared: bool) -> None:
    x = anywhere(np.random.default_rng(seed), shape, ring)

    def program(me, a):
        y = yield from opened(me, a, preshared, None)
        (positive,) = yield from at_least(me, y)
        return (yield from arithmetic(me, positive, 20)), (yield from choose(me, positive, y))

    out = play(program, [x], rings=[ring], seed=seed)
    assert np.array_equal(out.joined(0), x >= 0), f"wrong signs of {x}"
    assert np.array_equal(out.joined(1), np.maximum(x, 0)), f"another choice among {x}"


@checked(80)
@given(shape=SHAPES, ring=st.integers(4, 63), wider=st.integers(1, 30), seed=SEEDS,
       preshared=st.booleans(), data=st.data())  # fmt: skip
def test_thresholds_of_lifted_values(shape, ring, wider, seed, preshared, data) -> None:
    bits = min(ring + wider, 64)
    rng = np.random.default_rng(seed)
    x = values(rng, shape, ring - 2)
    limit = 2 ** (ring - 2)
    thresholds = data.draw(st.lists(st.integers(-limit, limit), min_size=1, max_size=3))
    thresholds[0] = int(x.flat[0])

    def program(me, a):
        y = yield from opened(me, a, preshared, bits)
        found = yield from at_least(me, y, thresholds)
        out = []
        for one in found:
            out += [(yield from arithmetic(me, one, 8)), (yield from choose(me, one, y))]
        return out

    out = play(program, [x], rings=[ring], seed=seed)
    for i, threshold in enumerate(thresholds):
        above = x >= threshold
        assert np.array_equal(out.joined(2 * i), above), f"{x} against {threshold}"
        assert out.client[2 * i + 1].bits == bits, "the choice is in another ring"
        assert np.array_equal(out.joined(2 * i + 1), np.where(above, x, 0)), "another choice"


@checked(50)
@given(shape=SHAPES, width=st.integers(2, 20), seed=SEEDS, lifts=st.booleans())
def test_fewer_bits_than_the_ring_has(shape, width: int, seed: int, lifts: bool) -> None:
    rng, threshold = np.random.default_rng(seed), 37
    x = threshold + anywhere(rng, shape, width)

    def program(me, a):
        y = yield from open_value(me, a, 50 if lifts else None)
        (above,) = yield from at_least(me, y, (threshold,), width)
        return (yield from arithmetic(me, above, 8))

    out = play(program, [x], rings=[40], seed=seed)
    assert np.array_equal(out.joined(), x >= threshold), f"{x} against {threshold}"
    compared = next(e for e in out.trace.entries if e.protocol == "at_least")
    assert compared.declared.dealt_client == x.size * key(width - 1), "the key is not shorter"


def test_a_value_seen_through_views() -> None:
    x = np.arange(-12, 12).reshape(2, 3, 4)

    def program(me, a):
        y = (yield from open_value(me, a, 40)).view(Columns(1, 3)).view(Transpose())
        (positive,) = yield from at_least(me, y)
        return (yield from choose(me, positive, y))

    out = play(program, [x], rings=[20])
    assert np.array_equal(out.joined(), np.maximum(x, 0)[..., 1:3].swapaxes(1, 2))


@pytest.mark.parametrize(("thresholds", "width"), [((), None), ((0,), 1), ((0,), 41)])
def test_comparisons_that_make_no_sense(thresholds, width) -> None:
    def program(me, a):
        return (yield from at_least(me, (yield from open_value(me, a)), thresholds, width))

    with pytest.raises(ValueError, match="in a ring of 40"):
        play(program, [np.zeros(2, np.int64)], rings=[40])


@checked(40)
@given(shape=SHAPES, ring=st.integers(4, 40), wider=st.integers(0, 24), seed=SEEDS,
       preshared=st.booleans())  # fmt: skip
def test_relu(shape, ring: int, wider: int, seed: int, preshared: bool) -> None:
    rng = np.random.default_rng(seed)
    x = values(rng, shape, ring - 2) if wider else anywhere(rng, shape, ring)

    def program(me, a):
        held = (yield from preshare(me, a)) if preshared else a
        return (yield from relu(me, held, ring + wider))

    out = play(program, [x], rings=[ring], seed=seed)
    assert out.client.bits == ring + wider
    assert np.array_equal(out.joined(), np.maximum(x, 0)), f"relu of {x}"


@checked(40)
@given(shape=SHAPES, ring=st.integers(3, 64), seed=SEEDS)
def test_maximum(shape, ring: int, seed: int) -> None:
    """Of values anywhere in the ring, so long as they differ by less than half of it."""
    rng = np.random.default_rng(seed)
    b = anywhere(rng, shape, ring)
    a = signed(words(b) + words(anywhere(rng, shape, ring - 1)), ring)

    def program(me, one, other):
        return (yield from maximum(me, one, other))

    out = play(program, [a, b], rings=[ring, ring], seed=seed)
    larger = np.where(signed(words(a) - words(b), ring) >= 0, a, b)
    assert np.array_equal(out.joined(), larger)


def test_values_of_two_rings_have_no_maximum() -> None:
    def program(me, a, b):
        return (yield from maximum(me, a, b))

    with pytest.raises(ValueError, match="narrow one"):
        play(program, [np.zeros(2, np.int64)] * 2, rings=[40, 41])


@pytest.mark.parametrize("n", range(1, 12))
def test_row_max(n: int) -> None:
    rng = np.random.default_rng(n)
    x = rng.integers(-(2**18), 2**18, (3, 2, n))

    def program(me, a):
        return (yield from row_max(me, a))

    out = play(program, [x], rings=[20], seed=n)
    assert np.array_equal(out.joined(), x.max(-1, keepdims=True))
    # Each party's next opening travels with its bits only if the other spoke first.
    assert len(out.trace.up) <= 2 * math.ceil(math.log2(n)), "a message too many"


@checked(60)
@given(shape=SHAPES, ring=RINGS, seed=SEEDS, data=st.data())
def test_outside_is_counted_for_any_ring_element(shape, ring: int, seed: int, data) -> None:
    half = 2 ** (ring - 1)
    low = data.draw(st.integers(-half, half - 1))
    high = data.draw(st.integers(low + 1, min(low + 2 * half - 1, half)))
    x = anywhere(np.random.default_rng(seed), shape, ring)
    x.flat[0], x.flat[-1] = low, high - 1

    def program(me, a):
        found = yield from outside(me, (yield from open_value(me, a)), low, high)
        return found.outside, *(yield from reveal_checked(me, a, [found]))

    out = play(program, [x], rings=[ring], seed=seed)
    wanted = int(((x < low) | (x >= high)).sum())
    assert out.joined(0)[0] == wanted, f"of {x} outside [{low}, {high})"
    assert (out.client[2] == int(wanted > 0)).all(), "the flag is wrong"
    if not wanted:
        assert np.array_equal(signed(out.client[1], ring), x), "another value is revealed"


@checked(30)
@given(shape=SHAPES, seed=SEEDS, preshared=st.booleans())
def test_outside_of_lifted_values(shape, seed: int, preshared: bool) -> None:
    x = values(np.random.default_rng(seed), shape, 18)

    def program(me, a):
        y = yield from opened(me, a, preshared, 60)
        return (yield from outside(me, y, -300, 7_000)).outside

    out = play(program, [x], rings=[20], seed=seed)
    assert out.joined()[0] == ((x < -300) | (x >= 7_000)).sum()


@pytest.mark.parametrize(("low", "high"), [(0, 0), (3, 2), (-128, 128), (0, 300)])
def test_no_range(low: int, high: int) -> None:
    def program(me, a):
        return (yield from outside(me, (yield from open_value(me, a)), low, high)).outside

    with pytest.raises(ValueError, match="no range"):
        play(program, [np.zeros(2, np.int64)], rings=[8])


@checked(40)
@given(shape=SHAPES, ring=st.integers(4, 63), wider=st.integers(0, 40), count=st.integers(1, 3))
def test_costs(shape, ring: int, wider: int, count: int) -> None:
    bits, n = min(ring + wider, 64), math.prod(shape)
    thresholds = tuple(range(count))

    def program(me, a):
        y = yield from open_value(me, a, bits)
        found = yield from at_least(me, y, thresholds)
        yield from arithmetic(me, found[0], 24)
        yield from choose(me, found[-1], y)
        return (yield from outside(me, y, 0, 1)).outside

    out = play(program, [np.zeros(shape, np.int64)], rings=[ring])
    _, compared, counted, chosen, checks, converted = out.trace.entries
    each = (n + 7) // 8
    one = n * key(ring - 1)
    assert compared.declared == Cost(count * each, count * each, one, one)
    assert counted.declared == Cost(dealt_server=3 * n)
    lifted = w(bits - ring) if wider else 0
    assert chosen.declared == Cost(dealt_server=n * (2 * w(bits) + lifted))
    assert checks.declared == Cost(each, each, n * key(ring), n * key(ring))
    assert converted.declared == Cost(dealt_server=3 * n)
    assert out.multiply_adds == {CLIENT: 0, SERVER: 0}


def test_messages() -> None:
    """The opening, then a bit each way; a preshared value is opened with the server's bits."""

    def program(me, a):
        return (yield from relu(me, a))

    out = play(program, [np.zeros((3, 3), np.int64)], rings=[20])
    assert out.trace.up == out.trace.down == (27, 2)

    def held(me, a):
        return (yield from relu(me, (yield from preshare(me, a))))

    out = play(held, [np.zeros((3, 3), np.int64)], rings=[20])
    assert (out.trace.up, out.trace.down) == ((27, 2), (29,))


def test_no_content_in_any_text() -> None:
    shown = []

    def program(me, a):
        y = yield from open_value(me, a)
        (found,) = yield from at_least(me, y)
        shown.append(repr(found))
        with pytest.raises(TypeError, match="truth value"):
            bool(found)
        return Additive(a.share, a.bits)

    play(program, [np.zeros((2, 3), np.int64)], rings=[20])
    assert set(shown) == {"Bits(shape=(2, 3))"}


@checked(80)
@given(shape=SHAPES, ring=st.integers(3, 62), wider=st.integers(0, 30), seed=SEEDS,
       preshared=st.booleans(), data=st.data())  # fmt: skip
def test_clipped_relu(shape, ring, wider, seed, preshared, data) -> None:
    top = data.draw(st.integers(1, 2 ** (ring - 2)))
    bits = min(ring + wider, 64)
    limit = 2 ** (ring - 2)
    rng = np.random.default_rng(seed)
    near = np.array([-limit, -1, 0, 1, top - 1, top, min(top + 1, limit), limit])
    x = np.where(rng.random(shape) < 0.5, rng.choice(near, shape), values(rng, shape, ring - 2))

    def program(me, a):
        held = (yield from preshare(me, a)) if preshared else a
        return (yield from clipped_relu(me, held, top, bits))

    out = play(program, [x], rings=[ring], seed=seed)
    assert out.client.bits == bits
    wanted = signed(words(np.clip(x, 0, top)), bits)
    assert np.array_equal(out.joined(), wanted), f"{x} clipped at {top}"
    n = x.size
    up = n * w(ring) if preshared else 0  # the sharing itself
    assert out.trace.total.up == up + (0 if preshared else n * w(ring)) + 2 * -(-n // 8)
    assert out.trace.total.dealt_client == n * key(ring - 1)


@pytest.mark.parametrize("top", [0, -1, 5])
def test_nothing_is_clipped_where_it_cannot_be(top: int) -> None:
    with pytest.raises(ValueError, match=f"values of 4 bits are not clipped at {top}"):
        play(lambda me, a: clipped_relu(me, a, top), [np.zeros(2, np.int64)], rings=[4])
