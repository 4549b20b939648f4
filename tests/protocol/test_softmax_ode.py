"""Softmax by an equation: the same as the plain recurrence, and as close to softmax as that is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.protocol.harness import SEEDS, Outcome, checked, play

from veilform.approx.softmax import softmax
from veilform.approx.softmax_ode import softmax_ode as plain
from veilform.drive.trace import trace
from veilform.protocol.share import mask_private
from veilform.protocol.softmax_ode import Plan, softmax_ode
from veilform.shapes import Abstract
from veilform.values import Additive


def run(
    plan: Plan, x: np.ndarray, tokens: np.ndarray, ring: int | None = None, seed: int = 0,
    scale: int | None = None,
) -> Outcome:  # fmt: skip
    """The weights of rows x, in their integers, with a mask that broadcasts against them."""
    count = tokens.sum(-1, keepdims=True)
    start = np.where(
        tokens > 0, np.rint(2.0 ** (plan.weight if scale is None else scale) / count), 0
    ).astype(np.int64)

    def program(me, scores, mine):
        mask = yield from mask_private(me, mine, start.shape, plan.working)
        return (yield from softmax_ode(me, scores, mask, plan, scale))

    return play(program, [x], rings=[ring or plan.scores], private=start, seed=seed)


def allowed(plan: Plan, keys: int) -> float:
    """What rounding may do to a weight.

    A unit early in a run grows with its weight, keys-fold; those of s add up like a random walk.
    """
    units = 2 * 2.0 ** (plan.steps / 2)
    return (keys + 2**plan.steps) * 2.0**-plan.weight + units * 2.0**-plan.score


def drawn(rng: np.random.Generator, shape: tuple[int, ...], top: int) -> np.ndarray:
    """Rows of scores within +-top: of any spread, some with a peak, some constant."""
    x = rng.uniform(-top, top, shape) * rng.random((*shape[:-1], 1))
    x[..., 0] = np.where(rng.random(shape[:-1]) < 0.4, top, x[..., 0])
    return np.rint(x).astype(np.int64)


@checked(60)
@given(
    steps=st.integers(1, 5), bound=st.integers(0, 4), score=st.integers(4, 12),
    weight=st.integers(8, 18), room=st.integers(2, 20), above=st.integers(0, 20),
    rows=st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple), keys=st.integers(1, 40),
    seed=SEEDS,
)  # fmt: skip
def test_equals_the_plain_recurrence(
    steps, bound, score, weight, room, above, rows, keys, seed
) -> None:
    assume(bound < steps)
    assume(weight >= steps)
    plan = Plan(steps, bound, score, weight, weight + room)
    rng = np.random.default_rng(seed)
    x = drawn(rng, (*rows, keys), 1 << (bound + score))
    tokens = rng.integers(0, 2, (*(1 for _ in rows), keys))
    tokens[..., rng.integers(0, keys)] = 1
    out = run(plan, x, tokens, min(64, plan.scores + above), seed)
    got = out.joined() * 2.0**-weight
    wanted = plain(x * 2.0**-score, tokens, 2**steps)
    assert out.client.bits == plan.ring
    assert np.abs(got - wanted).max() <= allowed(plan, keys)
    assert not got[np.broadcast_to(tokens == 0, got.shape)].any(), "a padded key has weight"
    assert got.min() >= -(2.0**-weight), "a weight is negative"
    openings = len(out.trace.up) + len(out.trace.down)
    assert openings <= 2**steps + 3, "a step takes more than one message"


@pytest.mark.parametrize(
    ("steps", "bound", "largest", "total"),
    [(3, 2, 0.29, 0.29), (4, 2, 0.15, 0.15), (4, 3, 0.14, 0.14), (5, 3, 0.075, 0.08),
     (5, 4, 0.075, 0.08), (5, 1, 0.06, 0.07), (4, 1, 0.11, 0.12)],
)  # fmt: skip
@pytest.mark.parametrize("tokens", [3, 20, 128])
def test_how_far_it_is_from_softmax(steps: int, bound: int, largest, total, tokens: int) -> None:
    """The table of docs/protocols.md: any weight, and half the sum of a row's errors."""
    plan = Plan(steps, bound, 10, 14, 16)
    x = drawn(np.random.default_rng(tokens), (200, 128), 1 << (bound + 10))
    mask = (np.arange(128) < tokens)[None].astype(np.int64)
    got = run(plan, x, mask).joined() * 2.0**-14
    off = np.abs(got - softmax(x / 1024, mask))
    assert off.max() <= largest
    assert off.sum(-1).max() / 2 <= total


@pytest.mark.parametrize("steps", [1, 4])
def test_a_mask_at_a_coarser_scale(steps: int) -> None:
    plan = Plan(steps, steps - 1, 10, 14, 16)
    x = drawn(np.random.default_rng(steps), (30, 32), 1 << (steps + 9))
    exact = (np.arange(32) < 16)[None].astype(np.int64)
    got = run(plan, x, exact, scale=6).joined() * 2.0**-14
    assert np.abs(got - plain(x / 1024, exact, 2**steps)).max() <= allowed(plan, 16)
    with pytest.raises(ValueError, match="scales of the plan"):
        run(plan, x, exact, scale=15)


def test_the_sum_comes_to_one_if_it_does_not_start_there() -> None:
    """A mask of 22 times round(2^8 / 22) = 12 starts from 1.03."""
    plan = Plan(4, 3, 10, 14, 16)
    x = drawn(np.random.default_rng(2), (50, 32), 1 << 13)
    mask = (np.arange(32) < 22)[None].astype(np.int64)
    got = run(plan, x, mask, scale=8).joined() * 2.0**-14
    assert np.abs(got.sum(-1) - 1).max() < 0.002
    assert np.abs(got - plain(x / 1024, mask, 16)).max() < 0.03


def test_plain_weights_sum_to_one_and_are_not_negative() -> None:
    rng = np.random.default_rng(3)
    x, mask = rng.uniform(-8, 8, (50, 30)), (np.arange(30) < 21)[None]
    weights = plain(x, mask, 16)
    np.testing.assert_allclose(weights.sum(-1), 1)
    assert (weights >= 0).all()
    assert not weights[:, 21:].any()
    np.testing.assert_allclose(plain(x + 5, mask, 16), weights, atol=1e-12)
    np.testing.assert_allclose(plain(x, mask, 1 << 14), softmax(x, mask), atol=1e-3)


def w(bits: int) -> int:
    return (max(bits, 0) + 7) // 8


@pytest.mark.parametrize(
    "plan",
    [Plan(1, 0, 10, 14, 16), Plan(3, 2, 10, 14, 16), Plan(4, 3, 10, 13, 40), Plan(5, 4, 9, 16, 20)],
)
def test_cost(plan: Plan) -> None:
    """The formula of docs/protocols.md."""
    a, s, r = 6, 20, 2**plan.steps
    n, k, last = a * s, plan.working, plan.last
    x, y, m, o = plan.scores, plan.weights, plan.mean, plan.opened

    def program(me):
        mask = yield from mask_private(me, Abstract((1, s)), (1, s), k)
        return (yield from softmax_ode(me, Additive(Abstract((a, s)), 64), mask, plan))

    found = trace(program)
    moved = n * (w(x) + w(k) + (r - 1) * w(y)) + a * r * w(m)
    assert (found.total.up - s * w(k), found.total.down) == (moved, moved)

    def lifted(rows: int, ring: int, width: int) -> int:
        return rows * (w(ring) + w(ring - width))

    def step(ring: int) -> int:
        crossed = w(ring) + w(ring - y) + w(ring - x) + w(ring - x - y)
        return lifted(n, ring, y) + n * (crossed + w(ring - m) + w(ring - m - y))

    dealt = 2 * lifted(n, o, x) + a * w(k) + n * w(k - x)
    dealt += n * (w(k) + w(k - x) + w(k - m)) + (r - 1) * a * w(k)
    dealt += (r - 1) * 2 * lifted(a, k, m) + (r - 2) * (step(k) + n * w(k - y))
    dealt += step(last) + lifted(a, last, m)
    assert found.total.dealt_server == dealt
    assert found.total.dealt_client == found.total.correction == 0


def test_messages() -> None:
    plan = Plan(4, 3, 10, 14, 16)
    x, mask = np.zeros((2, 8), np.int64), np.ones((1, 8), np.int64)
    trace = run(plan, x, mask).trace
    # The mask travels with the first: 17 openings, one message each, and the last half.
    assert len(trace.up) + len(trace.down) == 18


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ((3, 3, 10, 14, 16), "steps do not do"),
        ((11, 3, 10, 14, 16), "steps do not do"),
        ((4, 3, 10, 14, 15), "do not fit"),
        ((4, 3, 10, 3, 16), "do not fit"),
        ((4, 3, 10, 14, 51), "more than 64 bits"),
        ((5, 4, 22, 14, 16), "more than 64 bits"),
    ],
)
def test_no_plan(plan: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Plan(*plan)


def test_scores_or_a_mask_in_too_small_a_ring() -> None:
    plan = Plan(3, 2, 10, 14, 16)
    x, mask = np.zeros((2, 8), np.int64), np.ones((1, 8), np.int64)
    with pytest.raises(ValueError, match="scales of the plan"):
        run(plan, x, mask, ring=plan.scores - 1)
