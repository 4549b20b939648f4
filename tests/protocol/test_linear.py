"""Linear layers: several terms, matrices and gains, bias; exact in the ring."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.protocol.harness import SEEDS, as_additive, checked, play, values, words

from veilform.masks import Centre, Columns
from veilform.protocol.linear import linear
from veilform.protocol.opening import open_value
from veilform.protocol.share import preshare
from veilform.protocol.truncate import truncate
from veilform.roles import SERVER

TERMS = st.lists(st.one_of(st.just("gain"), st.integers(1, 6)), min_size=1, max_size=3)


@checked(80)
@given(
    rows=st.lists(st.integers(1, 4), min_size=1, max_size=2).map(tuple), out=st.integers(1, 6),
    terms=TERMS, bias=st.booleans(), seed=SEEDS,
)  # fmt: skip
def test_linear(rows, out: int, terms, bias: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    inputs, weights = [], {}
    for i, term in enumerate(terms):
        width = out if term == "gain" else term
        inputs.append(values(rng, (*rows, width), 63))
        weights[f"w{i}"] = values(rng, (out,) if term == "gain" else (width, out), 63)
    added = values(rng, (out,), 63)

    def program(me, *held):
        xs, ws = held[: len(terms)], held[len(terms) :]
        fixed = []
        for x in xs:
            fixed.append((yield from preshare(me, x)))
        mine = words(added) if bias and me.role is SERVER and ws[0].value is not None else None
        return (yield from linear(me, list(zip(fixed, ws, strict=True)), mine))

    ran = play(program, inputs, weights=weights, seed=seed)
    wanted = words(added) if bias else np.zeros(out, np.uint64)
    for x, w in zip(inputs, weights.values(), strict=True):
        wanted = wanted + (words(x) * words(w) if w.ndim == 1 else words(x) @ words(w))
    assert np.array_equal(ran.joined(), wanted.view(np.int64)), f"terms {terms}, bias {bias}: wrong"


def test_the_same_input_and_weight_twice() -> None:
    rng = np.random.default_rng(1)
    x, w = values(rng, (3, 4), 63), values(rng, (4, 4), 63)

    def program(me, a, weight):
        x = yield from preshare(me, a)
        one = yield from linear(me, [(x, weight), (x, weight)])
        return (yield from linear(me, [(one, weight)]))

    wanted = (words(x) @ words(w) * np.uint64(2)) @ words(w)
    got = play(program, [x], weights={"w": w}).joined()
    assert np.array_equal(got, wanted.view(np.int64)), "a weight or an input used twice goes wrong"


def test_masks_follow_through_layers_views_and_truncations() -> None:
    rng = np.random.default_rng(2)
    x, w = values(rng, (2, 3, 4), 20), values(rng, (4, 6), 12)

    def program(me, a, weight):
        x = yield from preshare(me, a)
        z = yield from linear(me, [(x, weight)])
        part = z.view(Columns(1, 5))
        cut = yield from truncate(me, part, 7)
        centred = yield from open_value(me, cut.view(Centre()), 2)
        return z, cut, as_additive(me, centred)

    out = play(program, [x], weights={"w": w})
    z = (words(x) @ words(w)).view(np.int64)
    assert np.array_equal(out.joined(0), z), "the linear layer is wrong"
    cut = out.joined(1)
    assert np.abs(cut - (z[..., 1:5] >> 7)).max() <= 1, "the truncated columns are wrong"
    centred = cut * 4 - cut.sum(-1, keepdims=True)
    assert np.abs(out.joined(2) - (centred >> 2)).max() <= 1, "the centred rows are wrong"
