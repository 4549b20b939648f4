"""Products of opened values are exact in what was opened, whatever was truncated on the way."""

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
    words,
)

from veilform.masks import Centre, Heads, Transpose
from veilform.protocol.multiply import matmul, multiply, square
from veilform.protocol.opening import open_value
from veilform.protocol.share import mask_private, preshare
from veilform.values import Preshared

SHIFT = st.one_of(st.just(0), st.integers(1, 62))


def times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a b modulo 2^64, as int64."""
    return (words(a) * words(b)).view(np.int64)


@checked(80)
@given(shape=SHAPES, seed=SEEDS, shift=SHIFT, preshared=st.booleans())
def test_square(shape, seed: int, shift: int, preshared: bool) -> None:
    x = values(np.random.default_rng(seed), shape)

    def program(me, a):
        held = (yield from preshare(me, a)) if preshared else a
        opened = yield from open_value(me, held, shift)
        return (yield from square(me, opened)), as_additive(me, opened)

    out = play(program, [x], seed=seed)
    root = out.joined(1)
    assert_within_a_unit(root, x, shift, "what is squared, dropped")
    assert np.array_equal(out.joined(0), times(root, root)), f"the square of {root} is wrong"


@pytest.mark.parametrize("shift", [0, 1, 16, 31, 32, 33, 48, 62])
def test_square_of_every_edge(shift: int) -> None:
    def program(me, a):
        opened = yield from open_value(me, a, shift)
        return (yield from square(me, opened)), as_additive(me, opened)

    out = play(program, [EDGES])
    root = out.joined(1)
    assert np.array_equal(out.joined(0), times(root, root)), f"a square after {shift} bits is wrong"


@checked(120)
@given(
    shape=SHAPES, seed=SEEDS, shifts=st.tuples(SHIFT, SHIFT), forms=st.tuples(*2 * [st.booleans()]),
    repeat=st.sampled_from(["no", "last", "first", "all"]),
)  # fmt: skip
def test_multiply(shape, seed: int, shifts, forms, repeat: str) -> None:
    rng = np.random.default_rng(seed)
    narrow = {
        "no": shape,
        "last": (*shape[:-1], 1),
        "first": (1, *shape[1:]),
        "all": (1,) * len(shape),
    }[repeat]
    x, y = values(rng, shape), values(rng, narrow)

    def program(me, a, b):
        opened = []
        for held, shift, preshared in zip((a, b), shifts, forms, strict=True):
            one = (yield from preshare(me, held)) if preshared else held
            opened.append((yield from open_value(me, one, shift)))
        product = yield from multiply(me, *opened)
        return product, *(as_additive(me, one) for one in opened)

    out = play(program, [x, y], seed=seed)
    left, right = out.joined(1), out.joined(2)
    assert_within_a_unit(left, x, shifts[0], "the left operand, dropped")
    assert_within_a_unit(right, y, shifts[1], "the right operand, dropped")
    assert np.array_equal(out.joined(0), times(left, right)), (
        f"the product of {left} and {right} after {shifts} bits is wrong"
    )


@pytest.mark.parametrize(
    "shifts", [(32, 32), (32, 33), (40, 40), (33, 45), (62, 62), (62, 2), (62, 3)]
)
def test_multiply_where_both_carries_meet(shifts: tuple[int, int]) -> None:
    rng = np.random.default_rng(sum(shifts))
    x, y = rng.choice(EDGES, 4000), rng.choice(EDGES, 4000)

    def program(me, a, b):
        one = yield from open_value(me, a, shifts[0])
        two = yield from open_value(me, b, shifts[1])
        product = yield from multiply(me, one, two)
        return product, as_additive(me, one), as_additive(me, two)

    out = play(program, [x, y])
    wanted = times(out.joined(1), out.joined(2))
    assert np.array_equal(out.joined(0), wanted), f"a product after {shifts} bits is wrong"


@checked(30)
@given(seed=SEEDS, shift=SHIFT)
def test_multiply_by_what_the_client_knows(seed: int, shift: int) -> None:
    rng = np.random.default_rng(seed)
    x, mask = values(rng, (2, 3, 4, 5)), values(rng, (2, 4, 1))

    def program(me, a, mine):
        opened = yield from open_value(me, a, shift)
        masked = yield from mask_private(me, mine, (2, 4, 1))
        product = yield from multiply(me, opened, masked.view(Heads(1)))
        return product, as_additive(me, opened)

    out = play(program, [x], private=mask, seed=seed)
    wanted = times(out.joined(1), mask.reshape(2, 1, 4, 1))
    assert np.array_equal(out.joined(0), wanted), "the product with the client's mask is wrong"


@checked(60)
@given(
    lead=st.lists(st.integers(1, 3), max_size=2).map(tuple),
    sizes=st.tuples(*3 * [st.integers(1, 6)]),
    seed=SEEDS, preshared=st.booleans(), broadcast=st.booleans(), flip=st.booleans(),
)  # fmt: skip
def test_matmul(lead, sizes, seed: int, preshared: bool, broadcast: bool, flip: bool) -> None:
    rng = np.random.default_rng(seed)
    m, inner, n = sizes
    wide = (1,) * len(lead) if broadcast else lead
    x = values(rng, (*lead, m, inner), 63)
    y = values(rng, (*wide, n, inner) if flip else (*wide, inner, n), 63)

    def program(me, a, b):
        left = (yield from preshare(me, a)) if preshared else a
        one = yield from open_value(me, left)
        two = yield from open_value(me, b)
        return (yield from matmul(me, one, two.view(Transpose()) if flip else two))

    out = play(program, [x, y], seed=seed)
    wanted = np.matmul(words(x), words(y).swapaxes(-1, -2) if flip else words(y)).view(np.int64)
    assert np.array_equal(out.joined(), wanted), f"{x.shape} by {y.shape} is wrong"


def test_matmul_refuses_truncated_operands() -> None:
    def program(me, a):
        opened = yield from open_value(me, a, 3)
        return (yield from matmul(me, opened, opened))

    with pytest.raises(ValueError, match="without truncation"):
        play(program, [np.ones((2, 2), np.int64)])


def test_one_opening_serves_many_products() -> None:
    rng = np.random.default_rng(3)
    x, y = values(rng, (4, 4)), values(rng, (4, 4))

    def program(me, a, b):
        one, two = (yield from open_value(me, a)), (yield from open_value(me, b))
        return (
            (yield from square(me, one)),
            (yield from multiply(me, one, two)),
            (yield from matmul(me, one, two)),
            (yield from matmul(me, two.view(Transpose()), one)),
        )

    out = play(program, [x, y])
    a, b = words(x), words(y)
    for index, wanted in enumerate((a * a, a * b, a @ b, b.T @ a)):
        assert np.array_equal(out.joined(index), wanted.view(np.int64)), f"product {index} is wrong"


def test_preshared_is_what_presharing_gives() -> None:
    out = play(preshare, [np.arange(3)])
    assert isinstance(out.client, Preshared)
    assert "0" not in repr(out.client).replace("shape=(3,)", ""), "a share shows in its text form"


def test_an_opening_is_centred_only_if_nothing_was_dropped() -> None:
    x = values(np.random.default_rng(8), (3, 6), 50)

    def program(me, a, shift):
        opened = yield from open_value(me, a, shift)
        return (yield from square(me, opened.view(Centre())))

    centred = x * 6 - x.sum(-1, keepdims=True)
    out = play(lambda me, a: program(me, a, 0), [x])
    assert np.array_equal(out.joined(), times(centred, centred)), "a centred square is wrong"
    with pytest.raises(ValueError, match="cannot be summed"):
        play(lambda me, a: program(me, a, 3), [x])
