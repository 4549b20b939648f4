"""Linear layers: several terms, matrices and gains, bias; exact in the ring."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.protocol.harness import (
    SEEDS,
    anywhere,
    as_additive,
    assert_dropped,
    checked,
    play,
    values,
    words,
)

from veilform.masks import Centre, Columns
from veilform.protocol.linear import linear
from veilform.protocol.opening import open_value
from veilform.protocol.share import preshare
from veilform.protocol.truncate import drop
from veilform.ring import signed
from veilform.roles import SERVER

TERMS = st.lists(st.one_of(st.just("gain"), st.integers(1, 6)), min_size=1, max_size=3)


@checked(80)
@given(
    rows=st.lists(st.integers(1, 4), min_size=1, max_size=2).map(tuple), out=st.integers(1, 6),
    terms=TERMS, bias=st.booleans(), seed=SEEDS, ring=st.integers(1, 64),
)  # fmt: skip
def test_linear(rows, out: int, terms, bias: bool, seed: int, ring: int) -> None:
    rng = np.random.default_rng(seed)
    inputs, weights, rings = [], {}, []
    for i, term in enumerate(terms):
        width = out if term == "gain" else term
        rings.append(int(rng.integers(ring, 65)))
        inputs.append(anywhere(rng, (*rows, width), rings[-1]))
        weights[f"w{i}"] = values(rng, (out,) if term == "gain" else (width, out), 63)
    added = values(rng, (out,), 63)

    def program(me, *held):
        xs, ws = held[: len(terms)], held[len(terms) :]
        fixed = []
        for x in xs:
            fixed.append((yield from preshare(me, x)))
        mine = words(added) if bias and me.role is SERVER and ws[0].value is not None else None
        return (yield from linear(me, list(zip(fixed, ws, strict=True)), ring, mine))

    ran = play(program, inputs, rings=rings, weights=weights, seed=seed)
    wanted = words(added) if bias else np.zeros(out, np.uint64)
    for x, w in zip(inputs, weights.values(), strict=True):
        wanted = wanted + (words(x) * words(w) if w.ndim == 1 else words(x) @ words(w))
    assert ran.client.bits == ring
    assert np.array_equal(ran.joined(), signed(wanted, ring)), (
        f"terms {terms}, bias {bias}, rings {rings} to {ring}: wrong"
    )


def test_an_input_from_a_smaller_ring_is_refused() -> None:
    def program(me, a, weight):
        x = yield from preshare(me, a)
        return (yield from linear(me, [(x, weight)], 31))

    with pytest.raises(ValueError, match="ring of 31 bits has an input of fewer"):
        play(program, [np.ones((2, 3), np.int64)], rings=[30], weights={"w": np.ones((3, 3), int)})


def test_the_same_input_and_weight_twice() -> None:
    rng = np.random.default_rng(1)
    x, w = values(rng, (3, 4), 63), values(rng, (4, 4), 63)

    def program(me, a, weight):
        x = yield from preshare(me, a)
        one = yield from linear(me, [(x, weight), (x, weight)], 64)
        return (yield from linear(me, [(one, weight)], 64))

    wanted = (words(x) @ words(w) * np.uint64(2)) @ words(w)
    got = play(program, [x], weights={"w": w}).joined()
    assert np.array_equal(got, wanted.view(np.int64)), "a weight or an input used twice goes wrong"


def test_masks_follow_through_layers_views_and_drops() -> None:
    rng = np.random.default_rng(2)
    x, w = values(rng, (2, 3, 4), 20), values(rng, (4, 6), 12)

    def program(me, a, weight):
        x = yield from preshare(me, a)
        z = yield from linear(me, [(x, weight)], 48)
        part = drop(me, z.view(Columns(1, 5)), 7)
        centred = drop(me, part.view(Centre()), 2, 36)
        opened = yield from open_value(me, centred, 64)
        return z, part, as_additive(me, opened)

    out = play(program, [x], rings=[50], weights={"w": w})
    z = (words(x) @ words(w)).view(np.int64)
    assert np.array_equal(out.joined(0), z), "the linear layer is wrong"
    part = out.joined(1)
    assert_dropped(part, z[..., 1:5], 7, 41, "columns, dropped")
    centred = part * 4 - part.sum(-1, keepdims=True)
    assert_dropped(out.joined(2), centred, 2, 36, "centred rows, dropped")
