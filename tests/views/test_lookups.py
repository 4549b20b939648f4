"""Exact views of look-ups over an ideal point function, and what can be said of the real keys.

The real keys are distributed point functions from AES (Boyle, Gilboa, Ishai, CCS 2016): to one
party they are pseudorandom, not uniform. So the tests of them are statistical and structural, and
find blunders only.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
from tests.views.enumeration import Enumeration, Run
from tests.views.ideal import ideal_lookups as ideal_lookups
from tests.views.test_exhaustive import assert_blind, everything

from veilform import kernels
from veilform.protocol.effects import together
from veilform.protocol.lookup import Checked, interpolate, reveal_checked, select
from veilform.protocol.opening import open_index, open_value
from veilform.roles import CLIENT, SERVER, Role
from veilform.values import Additive

pytestmark = pytest.mark.usefixtures("ideal_lookups")

BOTH = pytest.mark.parametrize("seer", [CLIENT, SERVER], ids=["client", "server"])


@BOTH
@pytest.mark.parametrize("width", [1, 2])
def test_select(seer: Role, width: int) -> None:
    table = np.array([[3], [6], [1], [7]], np.uint64)[: 1 << width]

    def program(me, a):
        index = yield from open_index(me, a, 0, width)
        return Additive((yield from select(me, index, table))[0][..., 0], 3)

    space = Enumeration(program, 3)

    def check(run: Run, client: Sequence[int], server: Sequence[int]) -> None:
        wanted = int(table[(client[0] + server[0]) % (1 << width), 0])
        assert not ((space.joined(run) - wanted) % 8).any(), "another row came"

    assert_blind(space, seer, everything(3), [(0,), (5,)], check)


@BOTH
def test_select_with_the_mask_of_the_value_as_payload(seer: Role) -> None:
    """All of x, its lowest bit as an index, and the payload: as interpolation has them."""
    table = np.array([[3, 1], [6, 5]], np.uint64)

    def program(me, a):
        opened, index = yield from together(open_value(me, a), open_index(me, a, 0, 1))
        row, crossed = yield from select(me, index, table, opened.ref)
        y = opened.y[..., None] if hasattr(opened.y, "dtype") else opened.y
        value = row[..., 0] + row[..., 1] * (y[..., 0] if hasattr(y, "dtype") else y)
        return Additive(value - crossed[..., 1], 3)

    space = Enumeration(program, 3)

    def check(run: Run, client: Sequence[int], server: Sequence[int]) -> None:
        x = (client[0] + server[0]) % 8
        wanted = int(table[x % 2, 0]) + int(table[x % 2, 1]) * x
        assert not ((space.joined(run) - wanted) % 8).any(), f"the line at {x} is wrong"

    assert_blind(space, seer, [(0,), (1,), (6,)], [(2,)], check)


TINY = SimpleNamespace(low=0, bits=1, columns=np.array([[3, 1, 0], [6, 5, 1]], np.uint64))


def test_interpolate_hides_the_server_s_share_from_the_client() -> None:
    def program(me, a):
        value, _ = yield from interpolate(me, a, TINY)
        return value

    space = Enumeration(program, 3, sampled=CLIENT, samples=256)

    def check(run: Run, client: Sequence[int], server: Sequence[int]) -> None:
        x = (client[0] + server[0]) % 8
        wanted = int(TINY.columns[x % 2, 0]) + int(TINY.columns[x % 2, 1]) * x
        assert not ((space.joined(run) - wanted) % 8).any(), f"the line at {x} is wrong"

    assert_blind(space, CLIENT, everything(3), everything(3), check)


def checked_by(checks: int):
    """Reveals the first input; the second is the count of values out of range."""

    def program(me, x, count):
        return (yield from reveal_checked(me, x, [Checked(count, checks)]))

    return program


@pytest.mark.parametrize("checks", [1, 2, 3])
def test_out_of_range_the_client_learns_that_and_no_more(checks: int) -> None:
    """Not which answer there would have been, nor how many values were out of range."""
    sampled = {"sampled": CLIENT, "samples": 512} if checks > 1 else {}
    space = Enumeration(checked_by(checks), 3, [(), ()], **sampled)
    for own in ((0, 0), (5, 3)):
        found: dict[int | None, set[bytes]] = {}
        for x, count in itertools.product((0, 1, 6), range(checks + 1)):
            run = space.run(own, [(x - own[0]) % 8, (count - own[1]) % 8])
            shown, flag = run.results[CLIENT]
            assert (flag == int(count > 0)).all(), f"{count} out of range: wrong flag"
            assert count or (shown == x).all(), f"{x} is revealed as {shown}"
            assert run.results[SERVER] == (None, None), "the server learns something"
            key = None if count else x
            found.setdefault(key, set()).add(run.views[CLIENT].distribution())
        assert len(found[None]) == 1, "out of range, the client learns more than that"


@pytest.mark.parametrize("seen", [(0, 0), (6, 1)])
def test_revealing_tells_the_server_nothing(seen: tuple[int, int]) -> None:
    space = Enumeration(checked_by(1), 3, [(), ()])
    assert_blind(space, SERVER, everything(3, 2), [seen])


# --- The real keys -------------------------------------------------------------------------------


def keys(rng: np.random.Generator, alpha: int, payload: int, count: int, bits: int) -> list:
    roots = [rng.integers(0, 256, (count, 16), np.uint8) for _ in range(2)]
    values = np.tile(np.array([1, payload], np.uint64), (count, 1))
    words = kernels.dpf_generate(*roots, np.full(count, alpha, np.uint64), values, bits)
    return [roots, words]


@pytest.mark.parametrize(("alpha", "payload"), [(0, 0), (63, 2**64 - 1), (21, 1)])
def test_every_bit_of_a_key_is_balanced_whatever_it_hides(alpha: int, payload: int) -> None:
    count = 40_000
    _, (seeds, bits, final) = keys(np.random.default_rng(alpha), alpha, payload, count, 6)
    columns = {
        "seed words": np.unpackbits(seeds.reshape(count, -1), axis=1),
        "bit words": np.unpackbits(bits, axis=1).reshape(count, 6, 8)[..., -2:].reshape(count, -1),
        "final words": np.unpackbits(final.view(np.uint8).reshape(count, -1), axis=1),
    }
    for name, column in columns.items():
        if name == "seed words":
            # The lowest bit of byte 0 of each is the cleared control bit.
            column = np.delete(column, [128 * level + 7 for level in range(6)], axis=1)
        mean = column.mean(axis=0)
        sigma = 0.5 / np.sqrt(count)
        assert np.abs(mean - 0.5).max() < 6 * sigma, f"a bit of the {name} leans: {mean}"


def test_bits_of_a_key_are_not_correlated() -> None:
    """No two bits of a key are correlated, whatever the point."""
    count = 4_000
    for alpha, seed in itertools.product((0, 5, 7), (1, 2)):
        _, (seeds, bits, final) = keys(np.random.default_rng(seed), alpha, 3, count, 3)
        flat = np.concatenate(
            [seeds.reshape(count, -1)[:, ::5], bits, final.view(np.uint8).reshape(count, -1)],
            axis=1,
        )
        signs = np.unpackbits(flat, axis=1).astype(np.float64) * 2 - 1
        live = np.abs(signs.mean(0)) < 0.5
        signs = signs[:, live]
        correlation = signs.T @ signs / count
        np.fill_diagonal(correlation, 0)
        assert np.abs(correlation).max() < 6.5 / np.sqrt(count), "bits of a key are correlated"


def test_a_key_alone_does_not_depend_on_the_point_until_the_paths_part() -> None:
    """A level's words come of the prefix so far: equal roots and prefixes give equal words."""
    rng = np.random.default_rng(9)
    roots = [rng.integers(0, 256, (1, 16), np.uint8) for _ in range(2)]
    one = np.array([[1, 5]], np.uint64)
    made = [
        kernels.dpf_generate(*roots, np.array([alpha], np.uint64), one, 4)
        for alpha in (0b0000, 0b0001, 0b1000)
    ]
    assert np.array_equal(made[0][0][:, :3], made[1][0][:, :3]), "equal prefixes, other seed words"
    assert not np.array_equal(made[0][0][:, 0], made[2][0][:, 0]), (
        "the first word ignores the point"
    )
