"""Sums of products equal the products, added up, whatever was lifted from where or is repeated."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.protocol.harness import SEEDS, anywhere, checked, play, ring_product, values, words

from veilform.protocol.effects import together
from veilform.protocol.fused import inner, multiply_difference
from veilform.protocol.opening import open_value
from veilform.protocol.share import preshare
from veilform.ring import signed

LIFTED = st.integers(3, 63).flatmap(lambda w: st.tuples(st.just(w), st.integers(w + 1, 64)))
FACTOR = st.one_of(st.integers(1, 64).map(lambda ring: (ring, ring)), LIFTED)
SHAPE = st.lists(st.integers(1, 5), min_size=2, max_size=3).map(tuple)
REPEAT = st.sampled_from([None, 0, -1])


def factor(rng: np.random.Generator, shape, rings: tuple[int, int], repeat: int | None):
    """Any value that may be opened so, with an axis of 1 perhaps."""
    width, bits = rings
    shape = tuple(1 if repeat is not None and i == repeat % len(shape) else n
                  for i, n in enumerate(shape))  # fmt: skip
    return values(rng, shape, width - 2) if bits > width else anywhere(rng, shape, width)


def opening(me, held, rings, forms):
    """Each opened in its rings, additive or preshared."""
    fixed = []
    for one, preshared in zip(held, forms, strict=True):
        fixed.append((yield from preshare(me, one)) if preshared else one)
    return (
        yield from together(
            *(open_value(me, one, bits) for one, (_, bits) in zip(fixed, rings, strict=True))
        )
    )


@checked(150)
@given(
    shape=SHAPE, seed=SEEDS, rings=st.tuples(*3 * [FACTOR]), forms=st.tuples(*3 * [st.booleans()]),
    repeats=st.tuples(st.none(), REPEAT, REPEAT), order=st.permutations([0, 1, 2]),
)  # fmt: skip
def test_multiply_difference(shape, seed: int, rings, forms, repeats, order) -> None:
    rng = np.random.default_rng(seed)
    repeats = [repeats[i] for i in order]
    parts = [factor(rng, shape, r, repeat) for r, repeat in zip(rings, repeats, strict=True)]

    def program(me, *held):
        return (yield from multiply_difference(me, *(yield from opening(me, held, rings, forms))))

    out = play(program, parts, rings=[width for width, _ in rings], seed=seed)
    bits = min(bits for _, bits in rings)
    a, b, c = (words(x) for x in parts)
    assert out.client.bits == bits
    assert np.array_equal(out.joined(), signed((a - b) * c, bits)), f"wrong in rings {rings}"


@checked(100)
@given(
    shape=SHAPE, seed=SEEDS, rings=st.tuples(FACTOR, FACTOR), forms=st.tuples(*2 * [st.booleans()]),
    repeat=REPEAT, first=st.booleans(),
)  # fmt: skip
def test_inner(shape, seed: int, rings, forms, repeat, first: bool) -> None:
    rng = np.random.default_rng(seed)
    repeats = [repeat, None] if first else [None, repeat]
    x, y = (factor(rng, shape, r, one) for r, one in zip(rings, repeats, strict=True))

    def program(me, *held):
        return (yield from inner(me, *(yield from opening(me, held, rings, forms))))

    out = play(program, [x, y], rings=[width for width, _ in rings], seed=seed)
    bits = min(bits for _, bits in rings)
    wanted = words(ring_product(*np.broadcast_arrays(x, y), 64)).sum(-1, keepdims=True)
    assert out.client.bits == bits
    assert np.array_equal(out.joined(), signed(wanted, bits)), f"wrong in rings {rings}"
