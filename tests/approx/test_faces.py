"""A function's two faces agree: what a student is trained with, and what is run privately."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.protocol.harness import SEEDS, checked, play

from veilform import fixed
from veilform.approx import registry
from veilform.approx.entry import LEAST_BOUND, Activation, Attention, Elementwise, Masking, Scored
from veilform.protocol.lookup import reveal_checked
from veilform.protocol.share import mask_private, preshare
from veilform.values import Additive

ACTIVATIONS = [e.name for e in registry.ENTRIES.values() if isinstance(e, Activation)]
ATTENTIONS = [e.name for e in registry.ENTRIES.values() if isinstance(e, Attention)]
SOURCE, RING, KEYS = 12, 44, 8
MASK_BITS = 6


def signed(words: np.ndarray) -> np.ndarray:
    return np.asarray(words).view(np.int64)


@pytest.mark.parametrize("name", ACTIVATIONS)
@checked(25)
@given(bound=st.integers(LEAST_BOUND, 7), scale=st.integers(8, 12), seed=SEEDS)
def test_an_activation(name: str, bound: int, scale: int, seed: int) -> None:
    """For every plan, on inputs of every size up to the bound, its ends included."""
    entry = registry.activation(name)
    rng = np.random.default_rng(seed)
    fold, secure = entry.fold, entry.secure
    assert secure is not None
    most = 2.0**bound - 2.0**-SOURCE
    given_ = np.concatenate([rng.uniform(-most, most, 60), rng.uniform(-1, 1, 20), [-most, most]])
    words = np.rint(given_ * 2.0**SOURCE)
    plan = Elementwise(SOURCE, bound, scale, RING)

    def program(me: Any, x: Additive) -> Any:
        return (yield from secure(me, (yield from preshare(me, x)), plan, []))

    ring = bound + SOURCE + 2 + entry.room
    out = play(program, [words.astype(np.int64)], rings=[ring], seed=seed)
    assert out.client.bits == RING
    found = out.joined() * 2.0**-scale / 2**fold.halvings + fold.offset
    wanted = entry.plain(words * 2.0**-SOURCE - fold.shift)
    worst = np.abs(found - wanted).max()
    assert worst <= entry.error + 2 * 2.0**-scale, f"off by {worst} within +-{most}"


@pytest.mark.parametrize("name", ATTENTIONS)
@checked(15)
@given(spread=st.sampled_from([0.3, 1.0, 3.0]), tokens=st.integers(1, KEYS), seed=SEEDS)
def test_an_attention(name: str, spread: float, tokens: int, seed: int) -> None:
    """Rows of every spread, with padding whose scores are the largest of all."""
    entry = registry.attention(name)
    rng = np.random.default_rng(seed)
    secure, bound, source = entry.secure, 4, 10
    assert secure is not None
    reach = min(entry.domain, 2.0**bound) - 0.01 - abs(entry.offset)
    scores = np.clip(rng.normal(0, spread, (1, 2, 6, KEYS)), -reach, reach)
    valid = np.arange(KEYS) < tokens
    scores[..., ~valid] = reach
    scores = np.rint(scores * 2.0**source) * 2.0**-source
    plan = Scored(source, bound, entry.scale, RING, KEYS)
    mask = (np.rint(2.0**MASK_BITS / tokens) * valid).astype(np.int64).reshape(1, 1, KEYS, 1)

    def program(me: Any, x: Additive, keys: Any) -> Any:
        opened = yield from mask_private(me, keys, (1, 1, KEYS, 1), RING)
        padding = None if keys is None else _padding(keys)
        checks: list[Any] = []
        made = yield from secure(me, x, plan, Masking(opened, MASK_BITS, padding), checks)
        if checks:
            zero = Additive(me.zeros((1,)), 20)
            _, flag = yield from reveal_checked(me, zero, checks)
            assert flag is None or not isinstance(flag, np.ndarray) or (flag == 0).all()
        return made

    def _padding(keys: Any) -> Any:
        if not isinstance(keys, np.ndarray):
            return keys.reshape(1, 1, 1, KEYS)
        return (keys == 0).astype(np.uint64).reshape(1, 1, 1, KEYS)

    words = fixed.encode(scores + entry.offset, source)
    ring = bound + source + 2 + entry.room
    out = play(program, [signed(words)], rings=[ring], private=mask, seed=seed)
    found = out.joined() * 2.0**-entry.scale
    if entry.numerators is not None:
        found = found * valid
        found = found / (found.sum(-1, keepdims=True) + entry.epsilon * tokens)
    worst = np.abs(found - entry.plain(scores, valid.astype(np.float64))).max()
    assert worst <= entry.error + 2.0**-6, f"a weight is off by {worst}"
    assert np.abs(found[..., ~valid]).max(initial=0) == 0, "a padded key has weight"


def test_scores_beyond_the_domain_raise_the_flag() -> None:
    entry = registry.attention("softmax-ode")
    assert entry.secure is not None
    plan = Scored(10, 5, entry.scale, RING, KEYS)
    mask = np.full((1, 1, KEYS, 1), 2**MASK_BITS // KEYS, np.int64)

    def program(me: Any, x: Additive, keys: Any) -> Any:
        opened = yield from mask_private(me, keys, (1, 1, KEYS, 1), RING)
        checks: list[Any] = []
        assert entry.secure is not None
        yield from entry.secure(me, x, plan, Masking(opened, MASK_BITS, None), checks)
        return (yield from reveal_checked(me, Additive(me.zeros((1,)), 20), checks))

    for score, outside in [(7.99, False), (-8.0, False), (8.0, True), (-8.01, True), (31.0, True)]:
        scores = np.zeros((1, 1, 2, KEYS))
        scores[0, 0, 1, 3] = score
        words = signed(fixed.encode(scores, 10))
        _, flag = play(program, [words], rings=[17], private=mask).client
        assert (flag == int(outside)).all(), f"a score of {score}"
