"""Exact views: over a tiny ring, what a party sees says nothing of the other's secrets.

For each protocol, all secrets of one party are run through with the other's input fixed. The joint
distribution of all that the other sees must not change, and every lane's output must be right.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from tests.views.enumeration import Enumeration, Run

from veilform.correlation.weights import dealer_part, packed_one
from veilform.masks import Columns, MaskRef
from veilform.nn.convolution import Convolution
from veilform.protocol.effects import together
from veilform.protocol.fused import inner, multiply_difference
from veilform.protocol.harmonics import harmonics
from veilform.protocol.linear import linear
from veilform.protocol.multiply import matmul, multiply, square
from veilform.protocol.opening import open_index, open_value
from veilform.protocol.party import Party
from veilform.protocol.series import Series
from veilform.protocol.share import mask_private, preshare, reveal
from veilform.protocol.truncate import drop
from veilform.ring import signed
from veilform.roles import CLIENT, SERVER, Role
from veilform.values import Additive, Preshared, Weight

Check = Callable[[Run, Sequence[int], Sequence[int]], None]


def added(me, x):
    """A held value as an additive sharing."""
    return Additive(me.opened_share(x) if hasattr(x, "y") else x.share, x.bits)


def assert_blind(
    space: Enumeration,
    seer: Role,
    secrets: Iterable[Sequence[Any]],
    fixed: Iterable[Sequence[Any]],
    check: Check | None = None,
) -> None:
    """For each fixed input of the seer, its view is distributed alike for all secrets."""
    secrets = list(secrets)
    assert len(secrets) > 1
    for own in fixed:
        first, wanted = secrets[0], None
        for secret in secrets:
            client, server = (own, secret) if seer is CLIENT else (secret, own)
            run = space.run(client, server)
            if check:
                check(run, client, server)
            found = run.views[seer].distribution()
            wanted = wanted or found
            assert found == wanted, (
                f"the {seer.value}, holding {own}, can tell {secret} from {first}"
            )


def everything(bits: int, count: int = 1) -> list[tuple[int, ...]]:
    return list(itertools.product(range(1 << bits), repeat=count))


def is_value(space: Enumeration, index: int | None = None, limit: int | None = None) -> Check:
    """The output is the input; or, with a limit, is so where the input is at most that large."""

    def check(run: Run, client: Sequence[int], server: Sequence[int]) -> None:
        x = space.signed(client[0], server[0])
        if limit is None or abs(x) <= limit:
            assert (space.joined(run, index) == x).all(), f"{x} comes out wrong"

    return check


def is_dropped(space: Enumeration, shift: int, index: int | None = None) -> Check:
    """The output is x >> shift or one more, in the ring of the bits that are left."""

    def check(run: Run, client: Sequence[int], server: Sequence[int]) -> None:
        x = space.signed(client[0], server[0])
        mask = (1 << space.rings[0] - shift) - 1
        off = (space.joined(run, index) - (x >> shift)) & mask
        assert off.max() <= 1, f"{x} comes out wrong by {np.unique(off)}"

    return check


def lifts(space: Enumeration, narrow: int, wide: int) -> Check:
    """Output ``wide`` is output ``narrow`` as an integer, where that may be lifted."""

    def check(run: Run, client: Sequence[int], server: Sequence[int]) -> None:
        x = space.joined(run, narrow)
        width = run.results[CLIENT][narrow].bits
        fine = np.abs(x) <= 1 << width - 2
        assert np.array_equal(space.joined(run, wide)[fine], x[fine]), "a lift is not exact"

    return check


FEW = [(0,), (3,), (8,), (15,)]


@pytest.mark.parametrize("seer", [CLIENT, SERVER], ids=["client", "server"])
class TestOneValue:
    """Protocols of one input, over all shares of both parties."""

    def test_preshare(self, seer: Role) -> None:
        space = Enumeration(preshare, 4)
        assert_blind(space, seer, everything(4), everything(4), is_value(space))

    @pytest.mark.parametrize(("bits", "shift"), [(3, 1), (4, 1), (4, 2), (5, 3)])
    def test_drop(self, seer: Role, bits: int, shift: int) -> None:
        def program(me, a):
            return drop(me, (yield from preshare(me, a)), shift)

        space = Enumeration(program, bits)
        fixed = everything(bits) if bits < 5 else [(0,), (1,), (13,), (31,)]
        assert_blind(space, seer, everything(bits), fixed, is_dropped(space, shift))

    @pytest.mark.parametrize("preshared", [False, True], ids=["additive", "preshared"])
    def test_open_value(self, seer: Role, preshared: bool) -> None:
        def program(me, a):
            held = (yield from preshare(me, a)) if preshared else a
            return added(me, (yield from open_value(me, held)))

        space = Enumeration(program, 4)
        assert_blind(space, seer, everything(4), everything(4), is_value(space))

    @pytest.mark.parametrize("preshared", [False, True], ids=["additive", "preshared"])
    @pytest.mark.parametrize(("width", "bits"), [(2, 3), (2, 6), (3, 4), (3, 5), (4, 5)])
    def test_open_and_lift(self, seer: Role, preshared: bool, width: int, bits: int) -> None:
        """Also for values that are too large: the lift is wrong then, and no view tells more."""

        def program(me, a):
            held = (yield from preshare(me, a)) if preshared else a
            return added(me, (yield from open_value(me, held, bits)))

        space = Enumeration(program, width)
        fixed = everything(width) if width < 4 else FEW
        right = is_value(space, limit=1 << width - 2)
        assert_blind(space, seer, everything(width), fixed, right)

    @pytest.mark.parametrize("preshared", [False, True], ids=["additive", "preshared"])
    @pytest.mark.parametrize(("width", "bits"), [(3, 3), (2, 4), (3, 4)])
    def test_square(self, seer: Role, preshared: bool, width: int, bits: int) -> None:
        def program(me, a):
            held = (yield from preshare(me, a)) if preshared else a
            return (yield from square(me, (yield from open_value(me, held, bits))))

        space = Enumeration(program, width)

        def check(run: Run, client: Sequence[int], server: Sequence[int]) -> None:
            x = space.signed(client[0], server[0])
            if bits == width or abs(x) <= 1 << width - 2:
                off = (space.joined(run) - x * x) % (1 << bits)
                assert not off.any(), f"the square of {x} is wrong"

        assert_blind(space, seer, everything(width), everything(width), check)

    @pytest.mark.parametrize(("low", "width"), [(0, 2), (1, 2), (2, 1), (1, 3), (0, 4)])
    def test_open_index(self, seer: Role, low: int, width: int) -> None:
        space = Enumeration(lambda me, a: open_index(me, a, low, width), 4)
        assert_blind(space, seer, everything(4), everything(4))

    @pytest.mark.parametrize("preshared", [False, True], ids=["additive", "preshared"])
    @pytest.mark.parametrize(
        ("ring", "shift", "bits"), [(4, 1, 3), (4, 2, 2), (4, 2, 4), (4, 1, 5)]
    )
    def test_drop_then_open(
        self, seer: Role, preshared: bool, ring: int, shift: int, bits: int
    ) -> None:
        """In the ring that the drop leaves, or lifted from it."""

        def program(me, a):
            dropped = drop(me, (yield from preshare(me, a)) if preshared else a, shift)
            opened = yield from open_value(me, dropped, bits)
            return added(me, dropped), added(me, opened)

        space = Enumeration(program, ring)

        def check(run: Run, client: Sequence[int], server: Sequence[int]) -> None:
            is_dropped(space, shift, 0)(run, client, server)
            lifts(space, 0, 1)(run, client, server)

        assert_blind(space, seer, everything(ring), FEW, check)

    def test_value_and_what_a_drop_leaves_of_it_both_opened(self, seer: Role) -> None:
        """Masks that depend on one another: r, what a drop makes of it, openings of both."""

        def program(me, a):
            x = yield from preshare(me, a)
            half = drop(me, x, 1)
            both = yield from together(open_value(me, x), open_value(me, half))
            return [added(me, one) for one in both]

        space = Enumeration(program, 4)

        def check(run: Run, client: Sequence[int], server: Sequence[int]) -> None:
            is_value(space, 0)(run, client, server)
            is_dropped(space, 1, 1)(run, client, server)

        assert_blind(space, seer, everything(4), [(0,), (5,), (14,)], check)

    def test_drop_preshare_drop(self, seer: Role) -> None:
        """As between layers: dropped, preshared under a fresh mask, dropped again, opened."""

        def program(me, a):
            fixed = yield from preshare(me, drop(me, a, 1))
            last = drop(me, fixed, 1)
            return added(me, fixed), added(me, (yield from open_value(me, last, 3)))

        space = Enumeration(program, 4)
        check = is_dropped(space, 1, 0)
        assert_blind(space, seer, everything(4), [(0,), (7,), (9,)], check)

    @pytest.mark.parametrize(
        ("period", "orders", "ring"), [(3, (1,), 5), (2, (1, 2), 3), (3, (3,), 5)]
    )
    def test_fourier_series(self, seer: Role, period: int, orders: tuple[int, ...], ring: int):
        """x counts modulo the period only, and no more of it is opened."""
        zero = (0,) * len(orders)
        series = Series(period, orders, (3, -2)[: len(orders)], zero, 1, 2, 2)

        space = Enumeration(lambda me, a: harmonics(me, a, series, series.fraction, ring), 4)

        def check(run: Run, client: Sequence[int], server: Sequence[int]) -> None:
            wanted = series.plain(client[0] + server[0]) * 2**series.fraction
            off = (space.joined(run) - wanted + 2 ** (ring - 1)) % 2**ring - 2 ** (ring - 1)
            # Quarters of a turn are exact.
            limit = series.rounding * 2**series.fraction if period > 2 else 1e-9
            assert np.abs(off).max() <= limit < 2 ** (ring - 1), "a series is wrong"

        assert_blind(space, seer, everything(4), [(0,), (5,), (14,)], check)

    def test_one_value_under_two_masks(self, seer: Role) -> None:
        """As a look-up does: all of x, and some bits of it, each under a mask of its own."""

        def program(me, a):
            both = yield from together(
                open_value(me, a), open_index(me, a, 0, 2), open_index(me, a, 1, 1)
            )
            return added(me, both[0])

        space = Enumeration(program, 3)
        assert_blind(space, seer, everything(3), everything(3), is_value(space))


def test_mask_private() -> None:
    def program(me, a):
        mine = a.share if me.role is CLIENT else None
        return added(me, (yield from mask_private(me, mine, a.shape, 4)))

    space = Enumeration(program, 4)
    assert_blind(space, SERVER, everything(4), [(0,)], is_value(space))


# --- Two values ----------------------------------------------------------------------------------


def few(bits: int, *, seed: int, count: int, values: int = 2) -> list[tuple[int, ...]]:
    """Some of all tuples of ring elements, with the extreme ones."""
    rng = np.random.default_rng(seed)
    size = 1 << bits
    drawn = [tuple(int(v) for v in rng.integers(0, size, values)) for _ in range(count)]
    return [(0,) * values, (size - 1,) * values, (size // 2,) * values, *drawn]


@pytest.mark.parametrize("seer", [CLIENT, SERVER], ids=["client", "server"])
@pytest.mark.parametrize("kind", ["elementwise", "matrix"])
def test_products_of_values_in_their_own_ring(seer: Role, kind: str) -> None:
    matrix = kind == "matrix"

    def program(me, a, b):
        one, two = yield from together(open_value(me, a), open_value(me, b))
        return (yield from (matmul if matrix else multiply)(me, one, two))

    space = Enumeration(program, 3, [(1, 1) if matrix else ()] * 2)

    def check(run: Run, client: Sequence[int], server: Sequence[int]) -> None:
        product = (client[0] + server[0]) * (client[1] + server[1])
        assert not ((space.joined(run) - product) % 8).any(), f"{client}, {server}: wrong product"

    assert_blind(space, seer, everything(3, 2), [(0, 0), (5, 3)], check)


@pytest.mark.parametrize("seer", [CLIENT, SERVER], ids=["client", "server"])
def test_product_of_a_lifted_value_and_the_client_s_own(seer: Role) -> None:
    def program(me, a, b):
        mine = b.share if me.role is CLIENT else None
        one, two = yield from together(open_value(me, a, 3), mask_private(me, mine, b.shape, 3))
        return (yield from multiply(me, one, two)), added(me, one)

    space = Enumeration(program, [2, 3], [(), ()])

    def check(run: Run, client: Sequence[int], server: Sequence[int]) -> None:
        off = space.joined(run, 0) - space.joined(run, 1) * space.signed(client[1], index=1)
        assert not (off % 8).any(), f"{client}, {server}: wrong product"
        x = space.signed(client[0], server[0])
        assert x == -2 or (space.joined(run, 1) == x).all(), f"{x} is lifted wrong"

    if seer is CLIENT:
        assert_blind(space, seer, [(x, 0) for x in range(4)], [(0, 0), (3, 6)], check)
    else:
        secrets = [(x, y) for x in range(4) for y in (0, 1, 5)]
        assert_blind(space, seer, secrets, [(0, 0), (3, 0)], check)


@pytest.mark.parametrize("preshared", [False, True], ids=["additive", "preshared"])
@pytest.mark.parametrize(("seer", "bits"), [(CLIENT, 3), (CLIENT, 5), (SERVER, 3)])
def test_product_of_two_lifted_values(seer: Role, preshared: bool, bits: int) -> None:
    """In a ring of 3 bits the product of both highest bits vanishes, in one of 5 it is dealt.

    The server's view there is of 32 random bits of the client's, too many to enumerate.
    """

    def program(me, a, b):
        if preshared:
            a, b = yield from together(preshare(me, a), preshare(me, b))
        one, two = yield from together(open_value(me, a, bits), open_value(me, b, bits))
        return (yield from multiply(me, one, two)), added(me, one), added(me, two)

    samples = 64 if seer is CLIENT else 1
    space = Enumeration(program, 2, [(), ()], sampled=seer, samples=samples)

    def check(run: Run, client: Sequence[int], server: Sequence[int]) -> None:
        off = space.joined(run, 0) - space.joined(run, 1) * space.joined(run, 2)
        assert not (off % (1 << bits)).any(), f"{client}, {server}: wrong product"
        for i in (0, 1):
            x = space.signed(client[i], server[i])
            assert x == -2 or (space.joined(run, i + 1) == x).all(), f"{x} is lifted wrong"

    assert_blind(space, seer, few(2, seed=2, count=20 if seer is CLIENT else 2), [(2, 1)], check)


@pytest.mark.parametrize("seer", [CLIENT, SERVER], ids=["client", "server"])
@pytest.mark.parametrize("lifted", [(), (2,), (0, 2), (1, 2)], ids=str)
def test_product_with_a_difference(seer: Role, lifted: tuple[int, ...]) -> None:
    """(a - b) c, with some of the three lifted from 2 bits to 3."""

    def program(me, *held):
        opened = yield from together(*(open_value(me, x, 3) for x in held))
        product = yield from multiply_difference(me, *opened)
        return product, *(added(me, x) for x in opened)

    rings = [2 if i in lifted else 3 for i in range(3)]
    space = Enumeration(program, rings, [()] * 3, sampled=seer, samples=16 if seer is CLIENT else 1)

    def check(run: Run, client: Sequence[int], server: Sequence[int]) -> None:
        a, b, c = (space.joined(run, i) for i in (1, 2, 3))
        assert not ((space.joined(run, 0) - (a - b) * c) % 8).any(), f"{client}, {server}: wrong"
        for i in range(3):
            x = space.signed(client[i], server[i], index=i)
            assert (i in lifted and x == -2) or (space.joined(run, i + 1) == x).all()

    drawn = few(3, seed=5, count=6 if seer is CLIENT else 1, values=3)
    secrets = [tuple(x % (1 << ring) for x, ring in zip(one, rings, strict=True)) for one in drawn]
    assert_blind(space, seer, secrets, [(2, 1, 3)], check)


@pytest.mark.parametrize("seer", [CLIENT, SERVER], ids=["client", "server"])
@pytest.mark.parametrize(("width", "bits", "length"), [(2, 2, 2), (2, 3, 1)])
def test_sum_of_products(seer: Role, width: int, bits: int, length: int) -> None:
    """Of a value in its own ring and one that is lifted, if bits are more than its width."""

    def program(me, a, b):
        opened = yield from together(open_value(me, a), open_value(me, b, bits))
        return (yield from inner(me, *opened))

    space = Enumeration(
        program, [bits, width], [(length,)] * 2, sampled=seer, samples=16 if seer is CLIENT else 1
    )

    def check(run: Run, client: Sequence[Any], server: Sequence[Any]) -> None:
        a = client[0].astype(np.int64) + server[0].astype(np.int64)
        b = signed(client[1] + server[1], width)
        if bits == width or np.abs(b).max() <= 1:
            off = space.joined(run).reshape(-1) - int((a * b).sum())
            assert not (off % (1 << bits)).any(), f"{client}, {server}: wrong sum"

    rng = np.random.default_rng(6)

    def drawn(count: int) -> list[list[np.ndarray]]:
        return [
            [rng.integers(0, 1 << ring, length, np.uint64) for ring in (bits, width)]
            for _ in range(count)
        ]

    assert_blind(space, seer, drawn(8), drawn(2), check)


@pytest.mark.parametrize("seer", [CLIENT, SERVER], ids=["client", "server"])
def test_matrix_product_with_a_sum(seer: Role) -> None:
    def program(me, a, b):
        one, two = yield from together(open_value(me, a), open_value(me, b))
        return (yield from matmul(me, one, two))

    space = Enumeration(program, 3, [(1, 2), (2, 1)], sampled=seer, samples=4)
    rng = np.random.default_rng(3)

    def drawn(count: int) -> list[list[np.ndarray]]:
        return [
            [rng.integers(0, 8, (1, 2), np.uint64), rng.integers(0, 8, (2, 1), np.uint64)]
            for _ in range(count)
        ]

    def check(run: Run, client: Sequence[Any], server: Sequence[Any]) -> None:
        product = (client[0] + server[0]) @ (client[1] + server[1])
        off = space.joined(run).astype(np.int64).reshape(-1) - int(product[0, 0])
        assert not (off % 8).any(), "a matrix product is wrong"

    assert_blind(space, seer, drawn(10), drawn(2), check)


# --- Linear layers -------------------------------------------------------------------------------


def element(x: int) -> np.ndarray:
    return np.array([[x]], np.uint64)


def one_weight(me, a, weight):
    x = yield from preshare(me, a)
    z = yield from linear(me, [(x, weight)], 3)
    return Additive(z.share, 3)


def test_linear_hides_the_input_from_the_server() -> None:
    space = Enumeration(one_weight, 3, [(1,)], weights={"w": (1, 1)})
    for w, p in itertools.product(range(8), range(8)):
        found = set()
        for x in range(8):
            run = space.run([x], [3], {"w": (element(w), element(p))})
            found.add(run.views[SERVER].distribution())
            off = space.joined(run) - (x + 3) * w
            assert not (off % 8).any(), f"({x} + 3) {w} comes out wrong"
        assert len(found) == 1, f"with W = {w} and P = {p} the server can tell inputs apart"


def test_linear_hides_the_weight_from_the_client() -> None:
    space = Enumeration(one_weight, 3, [(1,)], weights={"w": (1, 1)})
    for p, x in itertools.product(range(8), (0, 1, 6)):
        runs = [space.run([x], [3], {"w": (element(w), element(p))}) for w in range(8)]
        found = {run.views[CLIENT].distribution() for run in runs}
        assert len(found) == 1, f"with P = {p} and share {x} the client can tell weights apart"
        assert not any(run.received[CLIENT] for run in runs), "a linear layer sends to the client"


def test_linear_of_several_terms() -> None:
    """A matrix that sums two inputs, and a gain, in one layer."""

    def program(me, a, b, matrix, gain):
        x, y = yield from together(preshare(me, a), preshare(me, b))
        return Additive((yield from linear(me, [(x, matrix), (y, gain)], 3)).share, 3)

    space = Enumeration(program, 3, [(2,), (1,)], weights={"m": (2, 1), "g": (1,)})
    rng = np.random.default_rng(4)

    def ring(*shape: int) -> np.ndarray:
        return rng.integers(0, 8, shape, np.uint64)

    for _ in range(4):
        weights = {"m": (ring(2, 1), ring(2, 1)), "g": (ring(1), ring(1))}
        server = [ring(2), ring(1)]
        found = set()
        for _ in range(8):
            client = [ring(2), ring(1)]
            run = space.run(client, server, weights)
            found.add(run.views[SERVER].distribution())
            wanted = (client[0] + server[0]) @ weights["m"][0]
            wanted = wanted + (client[1] + server[1]) * weights["g"][0]
            off = space.joined(run).reshape(-1) - wanted.astype(np.int64)
            assert not (off % 8).any(), "a layer of two terms is wrong"
        assert len(found) == 1, "the server can tell inputs apart"


@pytest.mark.parametrize("bits", [3, 4])
def test_the_dealer_s_part_of_a_weight_is_uniform(
    bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = np.uint64(1 << bits)
    every = np.arange(size, dtype=np.uint64)
    monkeypatch.setattr("veilform.prg.expand", lambda seed, label, count, bits=64: every)
    for w in range(int(size)):
        s = dealer_part(b"", "w", np.full(int(size), w, np.uint64)) % size
        assert np.array_equal(np.sort(s), every), f"what the dealer gets for W = {w} is not uniform"


# --- Revealing -----------------------------------------------------------------------------------


def test_reveal_tells_the_client_the_output_and_no_more() -> None:
    """Of x with one square, the client cannot say which it was: x and -x, x and x + 4."""

    def program(me, a):
        squares = yield from square(me, (yield from open_value(me, a)))
        return (yield from reveal(me, squares))

    space = Enumeration(program, 3)
    for own in range(8):
        found: dict[int, set[bytes]] = {}
        for other in range(8):
            run = space.run([own], [other])
            wanted = (own + other) ** 2 % 8
            assert (run.results[CLIENT] == wanted).all(), f"({own} + {other})^2 is revealed wrong"
            found.setdefault(wanted, set()).add(run.views[CLIENT].distribution())
        for output, views in found.items():
            assert len(views) == 1, f"the client sees more than {output}"


@pytest.mark.parametrize("shift", [1, 2])
def test_a_revealed_message_follows_from_share_and_output(shift: int) -> None:
    def program(me, a):
        x = drop(me, (yield from preshare(me, a)), shift)
        return (yield from reveal(me, x)), x.share

    space = Enumeration(program, 4)
    for own, other in itertools.product(range(16), (0, 7, 9)):
        run = space.run([own], [other])
        output, share = run.results[CLIENT]
        last = run.received[CLIENT][-1]
        assert np.array_equal(last, (output - share) & np.uint64((1 << 4 - shift) - 1)), (
            "reveal sends something else"
        )


def test_a_view_of_columns_is_as_blind_as_the_whole() -> None:
    """Slices of one preshared row, one opened and one less a bit: their masks are slices too."""

    def program(me, a):
        x = yield from preshare(me, a)
        one = yield from open_value(me, x.view(Columns(0, 1)))
        two = yield from open_value(me, drop(me, x.view(Columns(1, 2)), 1))
        return added(me, one), added(me, two)

    for seer in (CLIENT, SERVER):
        space = Enumeration(program, 3, [(2,)])
        rows = [np.array(pair, np.uint64) for pair in itertools.product(range(8), repeat=2)]
        assert_blind(space, seer, [(row,) for row in rows], [(rows[0],), (rows[29],)])


# --- Convolutions --------------------------------------------------------------------------------

CONVOLUTIONS = {
    "direct": (Convolution(1, 1), 0, (1, 2, 1)),
    "Winograd": (Convolution(1, 1), 2, (2, 1, 1)),
    "grouped": (Convolution(2, 2, 1, 1, 0, 2), 0, (1, 1, 2)),
    "depthwise, strided": (Convolution(2, 2, 2, 2, 0, 2), 0, (2, 2, 2)),
}


@pytest.mark.parametrize("kind", list(CONVOLUTIONS))
def test_a_convolution_hides_image_and_kernel(kind: str) -> None:
    conv, tile, shape = CONVOLUTIONS[kind]
    ring = 3 if np.prod(shape) < 8 else 1
    shapes = conv.weights("w", tile)

    def program(me, a, *weights):
        named = {weight.name: weight for weight in weights}
        x = yield from preshare(me, Additive(a.share.reshape(-1, *shape), ring))
        z = yield from linear(me, conv.products(x, "w", named.__getitem__, tile), ring)
        return Additive(z.share, ring)

    space = Enumeration(program, ring, [shape], weights=shapes)
    rng = np.random.default_rng(5)

    def drawn(of: dict[str, Any]) -> dict[str, np.ndarray]:
        return {name: rng.integers(0, 1 << ring, s, np.uint64) for name, s in of.items()}

    common, weights, images = drawn(shapes), drawn(shapes), [drawn({"x": shape}) for _ in range(3)]
    server = rng.integers(0, 1 << ring, shape, np.uint64)
    outputs, views = [], set()
    for image in images:
        run = space.run([image["x"]], [server], {n: (w, common[n]) for n, w in weights.items()})
        views.add(run.views[SERVER].distribution())
        whole = image["x"] + server
        outputs.append((whole, space.joined(run)))
    assert len(views) == 1, "the server can tell images apart"
    held = {n: Weight(n, w.shape, packed_one(w)) for n, w in weights.items()}
    for whole, found in outputs:
        x = Preshared(whole.reshape(1, *shape), MaskRef("x"), ring)
        wanted = np.uint64(0)
        for product in conv.products(x, "w", held.__getitem__, tile):
            term = Party(SERVER).apply(product.x.share, product.weight, ring, product.by)
            for view in product.then:
                term = view.apply(term)
            wanted = wanted + term
        off = found.reshape(space.lanes, -1).astype(np.int64) - wanted.reshape(1, -1).view(np.int64)
        assert not (off % (1 << ring)).any(), "the convolution is wrong"

    client = [images[0]["x"]]
    seen = set()
    for _ in range(3):
        run = space.run(client, [server], {n: (w, common[n]) for n, w in drawn(shapes).items()})
        seen.add(run.views[CLIENT].distribution())
    assert len(seen) == 1, "the client can tell kernels apart"
