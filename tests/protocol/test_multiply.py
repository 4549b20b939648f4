"""Products of opened values are exact in the smaller ring, whatever was lifted from where."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.protocol.harness import (
    EDGES,
    SEEDS,
    SHAPES,
    anywhere,
    as_additive,
    checked,
    play,
    ring_product,
    values,
    words,
)

from veilform.masks import Centre, Heads, Transpose
from veilform.protocol.effects import together
from veilform.protocol.multiply import matmul, multiply, square
from veilform.protocol.opening import open_value
from veilform.protocol.share import mask_private, preshare
from veilform.ring import signed
from veilform.roles import SERVER
from veilform.values import Preshared

LIFTED = st.integers(3, 63).flatmap(lambda w: st.tuples(st.just(w), st.integers(w + 1, 64)))
FACTOR = st.one_of(st.integers(1, 64).map(lambda ring: (ring, ring)), LIFTED)
"""The ring of a value, and the one that it is opened in: a larger one, or its own."""


def factor(rng: np.random.Generator, shape: tuple[int, ...], rings: tuple[int, int]) -> np.ndarray:
    """Any value that may be opened so."""
    width, bits = rings
    return values(rng, shape, width - 2) if bits > width else anywhere(rng, shape, width)


@checked(120)
@given(shape=SHAPES, seed=SEEDS, rings=FACTOR, preshared=st.booleans())
def test_square(shape, seed: int, rings: tuple[int, int], preshared: bool) -> None:
    width, bits = rings
    x = factor(np.random.default_rng(seed), shape, rings)

    def program(me, a):
        held = (yield from preshare(me, a)) if preshared else a
        return (yield from square(me, (yield from open_value(me, held, bits))))

    out = play(program, [x], rings=[width], seed=seed)
    assert out.client.bits == bits
    wanted = ring_product(x, x, bits)
    assert np.array_equal(out.joined(), wanted), f"the square of {x}, {width} to {bits} bits"


@pytest.mark.parametrize("width", [3, 17, 31, 32, 33, 34, 48, 63])
@pytest.mark.parametrize("bits", [34, 48, 64])
def test_square_of_every_edge(width: int, bits: int) -> None:
    x = EDGES[np.abs(EDGES) < 2 ** (width - 2)]
    width = min(width, bits - 1)
    x = x[np.abs(x) < 2 ** (width - 2)]

    def program(me, a):
        return (yield from square(me, (yield from open_value(me, a, bits))))

    out = play(program, [x], rings=[width])
    assert np.array_equal(out.joined(), ring_product(x, x, bits)), f"{width} to {bits} bits: wrong"


@checked(150)
@given(
    shape=SHAPES, seed=SEEDS, rings=st.tuples(FACTOR, FACTOR),
    forms=st.tuples(*2 * [st.booleans()]), repeat=st.sampled_from(["no", "last", "first", "all"]),
)  # fmt: skip
def test_multiply(shape, seed: int, rings, forms, repeat: str) -> None:
    rng = np.random.default_rng(seed)
    narrow = {
        "no": shape,
        "last": (*shape[:-1], 1),
        "first": (1, *shape[1:]),
        "all": (1,) * len(shape),
    }[repeat]
    x, y = factor(rng, shape, rings[0]), factor(rng, narrow, rings[1])

    def program(me, a, b):
        opened = []
        for held, (_, bits), preshared in zip((a, b), rings, forms, strict=True):
            one = (yield from preshare(me, held)) if preshared else held
            opened.append((yield from open_value(me, one, bits)))
        product = yield from multiply(me, *opened)
        return product, *(as_additive(me, one) for one in opened)

    out = play(program, [x, y], rings=[width for width, _ in rings], seed=seed)
    bits = min(rings[0][1], rings[1][1])
    assert out.client[0].bits == bits, "the product is in another ring"
    assert np.array_equal(out.joined(1), x), "the first factor is opened wrong"
    assert np.array_equal(out.joined(2), y), "the second factor is opened wrong"
    assert np.array_equal(out.joined(0), ring_product(x, y, bits)), (
        f"the product of {x} and {y} in rings {rings} is wrong"
    )


@pytest.mark.parametrize("shapes", [((2, 1, 5), (2, 4, 1)), ((1, 5), (3, 4, 1)), ((3, 1), (4,))])
def test_multiply_where_either_is_repeated(shapes) -> None:
    rng = np.random.default_rng(4)
    x, y = (values(rng, shape, 18) for shape in shapes)

    def program(me, a, b):
        return (yield from multiply(me, *(yield from together(
            open_value(me, a, 44), open_value(me, b, 44)
        ))))  # fmt: skip

    out = play(program, [x, y], rings=[20, 20])
    assert np.array_equal(out.joined(), x * y), f"the product of {shapes} is wrong"


@pytest.mark.parametrize(
    ("widths", "bits"),
    [
        ((32, 32), 64), ((31, 32), 64), ((32, 33), 64), ((20, 20), 64), ((3, 3), 7), ((3, 4), 7),
        ((3, 3), 64), ((60, 3), 64), ((60, 4), 64), ((61, 4), 64), ((25, 20), 44), ((20, 30), 31),
    ],
)  # fmt: skip
def test_multiply_where_both_highest_bits_meet(widths: tuple[int, int], bits: int) -> None:
    """h_a h_b comes with 2^(width_a + width_b): dealt only where that is below 2^bits."""
    rng = np.random.default_rng(sum(widths))
    x, y = (rng.choice(EDGES[np.abs(EDGES) < 2 ** (width - 2)], 4000) for width in widths)

    def program(me, a, b):
        return (yield from multiply(me, *(yield from together(
            open_value(me, a, bits), open_value(me, b, bits)
        ))))  # fmt: skip

    out = play(program, [x, y], rings=widths)
    assert np.array_equal(out.joined(), ring_product(x, y, bits)), f"{widths} to {bits}: wrong"
    names = {field.name for field in out.trace.specs[-1].fields(SERVER)}
    assert ("hh" in names) == (bits > sum(widths)), f"{widths} to {bits}: {names} are shared"


@pytest.mark.parametrize(("a", "b"), list(itertools.product([(6, 9), (9, 9)], [(4, 5), (5, 5)])))
def test_a_highest_bit_above_the_product_s_ring_is_not_dealt(a, b) -> None:
    """A factor lifted from 6 bits in a product of 5: what its carry adds is 0 there."""
    rng = np.random.default_rng(1)
    x, y = factor(rng, (500,), a), factor(rng, (500,), b)

    def program(me, one, two):
        opened = yield from together(open_value(me, one, a[1]), open_value(me, two, b[1]))
        return (yield from multiply(me, *opened))

    out = play(program, [x, y], rings=[a[0], b[0]])
    assert np.array_equal(out.joined(), ring_product(x, y, 5)), f"{a} by {b}: wrong"


@checked(40)
@given(seed=SEEDS, rings=FACTOR, own=st.integers(1, 64))
def test_multiply_by_what_the_client_knows(seed: int, rings: tuple[int, int], own: int) -> None:
    rng = np.random.default_rng(seed)
    x, mask = factor(rng, (2, 3, 4, 5), rings), anywhere(rng, (2, 4, 1), own)

    def program(me, a, mine):
        opened = yield from open_value(me, a, rings[1])
        masked = yield from mask_private(me, mine, (2, 4, 1), own)
        return (yield from multiply(me, opened, masked.view(Heads(1))))

    out = play(program, [x], rings=[rings[0]], private=mask, seed=seed)
    wanted = ring_product(x, np.broadcast_to(mask.reshape(2, 1, 4, 1), x.shape), min(rings[1], own))
    assert np.array_equal(out.joined(), wanted), "the product with the client's mask is wrong"


@checked(80)
@given(
    lead=st.lists(st.integers(1, 3), max_size=2).map(tuple),
    sizes=st.tuples(*3 * [st.integers(1, 6)]), rings=st.tuples(*2 * [st.integers(1, 64)]),
    seed=SEEDS, preshared=st.booleans(), broadcast=st.booleans(), flip=st.booleans(),
)  # fmt: skip
def test_matmul(lead, sizes, rings, seed: int, preshared: bool, broadcast: bool, flip: bool):
    rng = np.random.default_rng(seed)
    m, inner, n = sizes
    wide = (1,) * len(lead) if broadcast else lead
    x = anywhere(rng, (*lead, m, inner), rings[0])
    y = anywhere(rng, (*wide, n, inner) if flip else (*wide, inner, n), rings[1])

    def program(me, a, b):
        left = (yield from preshare(me, a)) if preshared else a
        one = yield from open_value(me, left)
        two = yield from open_value(me, b)
        return (yield from matmul(me, one, two.view(Transpose()) if flip else two))

    out = play(program, [x, y], rings=rings, seed=seed)
    wanted = np.matmul(words(x), words(y).swapaxes(-1, -2) if flip else words(y))
    assert out.client.bits == min(rings)
    assert np.array_equal(out.joined(), signed(wanted, min(rings))), f"{x.shape} by {y.shape}"


@pytest.mark.parametrize("which", [0, 1])
def test_matmul_refuses_lifted_operands(which: int) -> None:
    def program(me, a):
        opened = yield from together(open_value(me, a), open_value(me, a, 40))
        return (yield from matmul(me, opened[which], opened[1 - which]))

    with pytest.raises(ValueError, match="opened in their own ring"):
        play(program, [np.ones((2, 2), np.int64)], rings=[20])


def test_one_opening_serves_many_products() -> None:
    rng = np.random.default_rng(3)
    x, y = anywhere(rng, (4, 4), 50), anywhere(rng, (4, 4), 44)

    def program(me, a, b):
        one, two = (yield from open_value(me, a)), (yield from open_value(me, b))
        return (
            (yield from square(me, one)),
            (yield from multiply(me, one, two)),
            (yield from matmul(me, one, two)),
            (yield from matmul(me, two.view(Transpose()), one)),
        )

    out = play(program, [x, y], rings=[50, 44])
    a, b = words(x), words(y)
    for index, (wanted, bits) in enumerate(
        ((a * a, 50), (a * b, 44), (a @ b, 44), (b.T @ a, 44))
    ):  # fmt: skip
        assert np.array_equal(out.joined(index), signed(wanted, bits)), f"product {index} is wrong"


def test_preshared_is_what_presharing_gives() -> None:
    out = play(preshare, [np.arange(3)])
    assert isinstance(out.client, Preshared)
    assert "0" not in repr(out.client).replace("shape=(3,)", ""), "a share shows in its text form"


def test_an_opening_is_centred_only_if_nothing_was_lifted() -> None:
    x = values(np.random.default_rng(8), (3, 6), 20)

    def program(me, a, bits):
        opened = yield from open_value(me, a, bits)
        return (yield from square(me, opened.view(Centre())))

    centred = x * 6 - x.sum(-1, keepdims=True)
    out = play(lambda me, a: program(me, a, 50), [x], rings=[50])
    assert np.array_equal(out.joined(), ring_product(centred, centred, 50)), "a square is wrong"
    with pytest.raises(ValueError, match="cannot be summed"):
        play(lambda me, a: program(me, a, 51), [x], rings=[50])
