"""Look-ups under sharing: the right row, the right line, and the flag."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.protocol.harness import SEEDS, SHAPES, checked, play, values, words
from tests.protocol.test_tables import answers

from veilform.errors import InputError
from veilform.protocol.effects import together
from veilform.protocol.lookup import Checked, interpolate, reveal_checked, select
from veilform.protocol.opening import open_index, open_value
from veilform.protocol.tables import fit, reciprocal, rsqrt
from veilform.ring import signed
from veilform.roles import CLIENT, SERVER
from veilform.values import Additive

RECIPROCAL = reciprocal(3_000, 200_000, 2**28)
RSQRT = rsqrt(412_542_400, 3_159_170_561, 2**36)
NARROW = fit(lambda x: 1.0 / x, 3_000, 60_000, 2**20, tolerance=2.0**-8, ring=34)
TABLES = {"reciprocal": RECIPROCAL, "rsqrt": RSQRT, "in a ring of 34 bits": NARROW}


@checked(50)
@given(shape=SHAPES, seed=SEEDS, bits=st.integers(1, 8), columns=st.integers(1, 3))
def test_select(shape, seed: int, bits: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    table = rng.integers(0, 2**64, (2**bits, columns), np.uint64)
    x, payload = values(rng, shape, 63), values(rng, shape, 63)

    def program(me, a, b):
        index = yield from open_index(me, a, 0, bits)
        opened = yield from open_value(me, b)
        row, crossed = yield from select(me, index, table, opened.ref)
        plain, nothing = yield from select(me, index, table)
        assert nothing is None
        # y row - mask row = row b: the mask of b rides as the payload.
        y = np.uint64(0) if not hasattr(opened.y, "dtype") else opened.y[..., None]
        return Additive(row, 64), Additive(row * y - crossed, 64), Additive(plain, 64)

    out = play(program, [x, payload], seed=seed)
    wanted = table[x & (2**bits - 1)]
    assert np.array_equal(words(out.joined(0)), wanted), "the look-up gives another row"
    assert np.array_equal(words(out.joined(2)), wanted), "without a payload: another row"
    crossed = wanted * words(payload)[..., None]
    assert np.array_equal(words(out.joined(1)), crossed), "row times payload is wrong"


@pytest.mark.parametrize("name", TABLES)
@checked(30)
@given(shape=SHAPES, seed=SEEDS)
def test_interpolate_answers_as_the_table(name: str, shape, seed: int) -> None:
    table, rng = TABLES[name], np.random.default_rng(seed)
    x = rng.integers(table.lowest, table.highest, shape, np.int64, endpoint=True)
    x.flat[0], x.flat[-1] = table.lowest, table.highest

    def program(me, a):
        value, found = yield from interpolate(me, a, table)
        shown, flag = yield from reveal_checked(me, value, [found])
        return value, found.outside, flag, shown

    out = play(program, [x], rings=[table.ring], seed=seed)
    assert out.client[0].bits == table.ring, "the answer is in another ring than the question"
    for one, got in zip(x.flat, out.joined(0).flat, strict=True):
        allowed = [value for value in answers(table, int(one)) if value is not None]
        low, high = min(allowed) * (1 - 2.0**-30), max(allowed) * (1 + 2.0**-30)
        assert low <= got * 2.0**-table.scale <= high, (
            f"f({one}) comes out as {got * 2.0**-table.scale}, not {allowed}"
        )
    assert out.joined(1)[0] == 0, f"a value in range counts as outside, among {x}"
    assert not out.client[2].any(), "the flag is raised within the range"
    shown = signed(out.client[3], table.ring)
    assert np.array_equal(shown, out.joined(0)), "another value is revealed"
    assert out.server[2:] == (None, None), "the server learns something"


OUTSIDE = [2_500, 10, 0, -1, -70_000, 230_000, 300_000, 2**18, 2**20, 2**27, 2**28, -(2**28)]


@pytest.mark.parametrize("bad", [2_500, 10, 0, -1, -70_000, 80_000, 2**18, 2**20, -(2**20)])
def test_one_value_outside_in_a_small_ring_raises_the_flag(bad: int) -> None:
    x = np.full((3, 5), 5_000, np.int64)
    x[2, 0] = bad

    def program(me, a):
        _, found = yield from interpolate(me, a, NARROW)
        return (yield from reveal_checked(me, a, [found]))

    for seed in range(4):
        _, flag = play(program, [x], rings=[NARROW.ring], seed=seed).client
        assert (flag == 1).all(), f"{bad} passes silently"


@pytest.mark.parametrize("ring", [3, 5, 8])
def test_the_noise_of_a_raised_flag_is_uniform_in_the_ring(ring: int) -> None:
    """A value of few bits is hidden by as few: each element of its ring is as likely as another."""
    size, count = 1 << ring, 20_000
    x = np.full(count, 2, np.int64)

    def program(me, a, outside):
        return (yield from reveal_checked(me, a, [Checked(outside, 1)]))

    shown, flag = play(program, [x, np.array([1])], rings=[ring, 64]).client
    assert (flag == 1).all()
    found = np.bincount(shown.astype(np.int64), minlength=size)
    assert found.size == size, "noise leaves the ring"
    # Chi squared over its size has mean 1; six standard deviations above that.
    excess = ((found - count / size) ** 2).sum() / (count / size) / (size - 1)
    assert excess < 1 + 6 * np.sqrt(2 / (size - 1)), f"the noise leans: {found}"


@pytest.mark.parametrize("bad", OUTSIDE)
def test_one_value_outside_among_many_raises_the_flag(bad: int) -> None:
    x = np.full((3, 5), 5_000, np.int64)
    x[1, 3] = bad

    def program(me, a):
        _, found = yield from interpolate(me, a, RECIPROCAL)
        shown, flag = yield from reveal_checked(me, a, [found])
        return found.outside, flag, shown

    for seed in range(4):
        out = play(program, [x], seed=seed)
        assert (out.client[1] == 1).all(), f"{bad} passes silently"
        assert not np.any(out.client[2].view(np.int64) == x), f"with {bad}, a value is revealed"
        assert out.joined(0)[0] == 1, f"{bad} is counted {out.joined(0)[0]} times"


@checked(30)
@given(shape=SHAPES, seed=SEEDS, outside=st.integers(0, 125))
def test_the_flag_is_one_bit_however_many_are_outside(shape, seed: int, outside: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.full(shape, 5_000, np.int64)
    x.flat[: min(outside, x.size)] = rng.choice(OUTSIDE, min(outside, x.size))
    good = np.full((2, 2), 2**30, np.int64)

    def program(me, a, b):
        found = yield from together(interpolate(me, a, RECIPROCAL), interpolate(me, b, RSQRT))
        return (yield from reveal_checked(me, b, [checked for _, checked in found]))

    out = play(program, [x, good], seed=seed)
    shown, flag = out.client
    assert (flag == int(outside > 0)).all(), f"{outside} of {x.size} outside: wrong flag"
    same = shown.view(np.int64) == good
    assert same.all() if not outside else not same.any(), f"{outside} outside, but {shown} shown"
    assert out.server == (None, None), "the server learns something"


def test_work_and_bytes_of_a_look_up() -> None:
    def program(me, a):
        return (yield from interpolate(me, a, RECIPROCAL))[0]

    out = play(program, [np.full((4, 3), 5_000, np.int64)])
    keys = 12 * RECIPROCAL.bits * (17 + 16)
    total = out.trace.total
    assert total.dealt_client == total.dealt_server == keys, "a key is 33 bytes a bit"
    assert len(out.trace.up) == len(out.trace.down) == 1, "interpolation is one message each way"
    assert out.multiply_adds == {CLIENT: 0, SERVER: 0}


def test_too_many_checks_are_refused_before_anything_is_sent() -> None:
    def program(me, a):
        found = Checked(Additive(a.share.reshape(1, -1).sum(-1), 64), 2**20)
        return (yield from reveal_checked(me, a, [found]))

    with pytest.raises(InputError, match="smaller batch"):
        play(program, [np.zeros(2, np.int64)])
