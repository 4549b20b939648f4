"""What each protocol costs: declared, traced and moved bytes are one and the same, each way.

``play`` compares real messages and dealt bytes with the trace, and a trace compares declared costs
with effects; here the numbers are also computed by hand.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.checkpoints import TEXTS, make_tiny
from tests.models.secure import Tiny
from tests.protocol.harness import SEEDS, SHAPES, checked, play

from veilform.drive.trace import trace
from veilform.protocol.cost import Cost, Entry, declares
from veilform.protocol.effects import BOTH, Transfer, together
from veilform.protocol.linear import linear
from veilform.protocol.lookup import select
from veilform.protocol.multiply import matmul, multiply, square
from veilform.protocol.opening import open_index, open_value
from veilform.protocol.share import mask_private, preshare, reveal
from veilform.protocol.truncate import drop
from veilform.roles import CLIENT, SERVER
from veilform.shapes import Abstract
from veilform.values import Additive

RING = st.integers(1, 64)
LIFT = st.integers(2, 63).flatmap(lambda w: st.tuples(st.just(w), st.integers(w + 1, 64)))


def w(bits: int) -> int:
    """Bytes of a word of that many bits; none for none."""
    return (max(bits, 0) + 7) // 8


def moved(count: int, bits: int) -> int:
    """Bytes of so many words between client and server: single bits are packed."""
    return (count + 7) // 8 if bits == 1 else count * w(bits)


def last(program, inputs, **named) -> tuple[Cost, tuple[int, int]]:
    """The last protocol's cost, and the number of messages each way of the whole program."""
    out = play(program, inputs, **named)
    entry: Entry = out.trace.entries[-1]
    return entry.declared, (len(out.trace.up), len(out.trace.down))


@checked(40)
@given(shape=SHAPES, ring=RING, lift=LIFT)
def test_protocols_of_one_input(shape: tuple[int, ...], ring: int, lift: tuple[int, int]) -> None:
    x, n = [np.ones(shape, np.int64)], math.prod(shape)
    each, here = moved(n, ring), {"rings": [ring]}

    assert last(preshare, x, **here) == (Cost(up=each), (1, 0))
    assert last(reveal, x, **here) == (Cost(down=each), (0, 1))
    assert last(open_value, x, **here) == (Cost(up=each, down=each), (1, 1))

    def opened_once(me, a, bits=None):
        return (yield from open_value(me, (yield from preshare(me, a)), bits))

    assert last(opened_once, x, **here) == (Cost(down=each), (1, 1))

    width, bits = lift
    each, here = moved(n, width), {"rings": [width]}
    dealt = n * (w(bits) + w(bits - width))
    wanted = Cost(up=each, down=each, dealt_server=dealt)
    assert last(lambda me, a: open_value(me, a, bits), x, **here) == (wanted, (1, 1))
    wanted = Cost(down=each, dealt_server=dealt)
    assert last(lambda me, a: opened_once(me, a, bits), x, **here) == (wanted, (1, 1))


@checked(30)
@given(shape=SHAPES, bits=st.integers(1, 16))
def test_an_index_costs_its_own_bits(shape: tuple[int, ...], bits: int) -> None:
    x, each = [np.ones(shape, np.int64)], moved(math.prod(shape), bits)
    wanted = (Cost(up=each, down=each), (1, 1))
    assert last(lambda me, a: open_index(me, a, 3, bits), x) == wanted


@checked(30)
@given(shape=SHAPES, rings=LIFT)
def test_a_drop_is_free_and_makes_what_follows_cheaper(shape, rings: tuple[int, int]) -> None:
    left, ring = rings

    def program(me, a):
        return (yield from preshare(me, drop(me, a, ring - left)))

    out = play(program, [np.ones(shape, np.int64)], rings=[ring])
    assert out.trace.total == Cost(up=moved(math.prod(shape), left))
    assert [entry.protocol for entry in out.trace.entries] == ["preshare"]


FACTOR = st.one_of(RING.map(lambda ring: (ring, ring)), LIFT)


@checked(60)
@given(shape=SHAPES, factors=st.tuples(FACTOR, FACTOR))
def test_products(shape: tuple[int, ...], factors) -> None:
    x, n = np.ones(shape, np.int64), math.prod(shape)
    (width, bits), other = factors

    def squared(me, a):
        return (yield from square(me, (yield from open_value(me, a, bits))))

    cost, messages = last(squared, [x], rings=[width])
    assert cost == Cost(dealt_server=n * (w(bits) + w(bits - width))), "a square's cost"
    assert messages == (1, 1), "a square sends something"

    def product(me, a, b):
        opened = yield from together(open_value(me, a, bits), open_value(me, b, other[1]))
        return (yield from multiply(me, *opened))

    ring, lifted = min(bits, other[1]), [one for one in factors if one[1] > one[0]]
    dealt = w(ring) + sum(w(ring - one) for one, _ in lifted)
    if len(lifted) == 2:
        dealt += w(ring - width - other[0])
    cost, messages = last(product, [x, x], rings=[width, other[0]])
    assert cost == Cost(dealt_server=n * dealt), "a product's cost"
    assert messages == (1, 1), "two openings together are not one message"


@checked(30)
@given(batch=st.integers(1, 3), sizes=st.tuples(*3 * [st.integers(1, 7)]), ring=RING)
def test_matrix_products_and_their_work(batch: int, sizes, ring: int) -> None:
    m, inner, n = sizes

    def program(me, a, b):
        opened = yield from together(open_value(me, a), open_value(me, b))
        return (yield from matmul(me, *opened))

    inputs = [np.ones((batch, m, inner), np.int64), np.ones((batch, inner, n), np.int64)]
    out = play(program, inputs, rings=[ring, 64])
    work = 2 * batch * m * inner * n
    wanted = Cost(
        dealt_server=w(ring) * batch * m * n, client_multiply_adds=work, server_multiply_adds=work
    )
    assert out.trace.entries[-1].declared == wanted
    assert out.multiply_adds == {CLIENT: work, SERVER: work}, "the kernels did other work"
    assert out.trace.dealer_multiply_adds == work // 2, "the dealer's work"


@checked(30)
@given(rows=st.integers(1, 5), width=st.integers(1, 6), out=st.integers(1, 6), ring=RING)
def test_linear_layers_and_their_work(rows: int, width: int, out: int, ring: int) -> None:
    def program(me, a, b, matrix, gain):
        x, y = yield from together(preshare(me, a), preshare(me, b))
        return (yield from linear(me, [(x, matrix), (y, gain)], ring))

    inputs = [np.ones((rows, width), np.int64), np.ones((rows, out), np.int64)]
    weights = {"m": np.ones((width, out), np.int64), "g": np.ones(out, np.int64)}
    ran = play(program, inputs, weights=weights)
    n, work = rows * out, rows * width * out
    wanted = Cost(dealt_server=w(ring) * n, correction=w(ring) * n, server_multiply_adds=work)
    assert ran.trace.entries[-1].declared == wanted
    assert ran.multiply_adds == {CLIENT: 0, SERVER: work}, "the kernels did other work"
    assert ran.trace.linear_multiply_adds == ran.trace.dealer_multiply_adds == work
    assert (len(ran.trace.up), len(ran.trace.down)) == (1, 0), "a linear layer sends something"


@checked(20)
@given(shape=SHAPES, bits=st.integers(1, 8))
def test_look_ups_and_private_values(shape: tuple[int, ...], bits: int) -> None:
    x, n = np.ones(shape, np.int64), math.prod(shape)

    def program(me, a):
        index = yield from open_index(me, a, 0, bits)
        return (yield from select(me, index, np.ones((2**bits, 2), np.uint64)))[0]

    keys = n * (17 * bits + 16)
    assert last(program, [x])[0] == Cost(dealt_client=keys, dealt_server=keys)

    def masked(me, mine):
        return (yield from mask_private(me, mine, shape, 8 * bits))

    assert last(masked, [], private=x) == (Cost(up=bits * n), (1, 0))


@checked(10)
@given(seed=SEEDS)
def test_openings_side_by_side_take_as_many_messages_as_one(seed: int) -> None:
    def program(me, *held):
        xs = yield from together(*(preshare(me, x) for x in held))
        return (yield from together(*(open_value(me, drop(me, x, 9), 60) for x in xs)))

    rng = np.random.default_rng(seed)
    out = play(program, [np.ones(int(n), np.int64) for n in rng.integers(1, 9, 4)])
    assert (len(out.trace.up), len(out.trace.down)) == (1, 1)


# --- The whole model -----------------------------------------------------------------------------


@pytest.mark.parametrize("private", [False, True], ids=["public", "private embedding"])
def test_a_whole_model(tmp_path: Path, private: bool) -> None:
    tiny = Tiny.load(make_tiny(tmp_path, calibrated=True), private)
    out = tiny.run(list(TEXTS[:2]), length=24)
    total = out.trace.total
    sizes = {
        role: tuple(sum(part.nbytes for part in message) for message in out.ran.sent[role])
        for role in (CLIENT, SERVER)
    }
    assert sizes[CLIENT] == out.trace.up, "messages up are not as traced"
    assert sizes[SERVER] == out.trace.down, "messages down are not as traced"
    assert (sum(sizes[CLIENT]), sum(sizes[SERVER])) == (total.up, total.down)
    assert out.dealt == {CLIENT: total.dealt_client, SERVER: total.dealt_server}
    assert out.correction == total.correction, "corrections are not as declared"
    assert out.multiply_adds == {
        CLIENT: total.client_multiply_adds,
        SERVER: total.server_multiply_adds,
    }, "the kernels did other work than declared"
    layer = [entry for entry in out.trace.entries if entry.protocol == "linear"]
    assert len(layer) == 2 * 4 + 1 + private, "not four linear layers a layer, and the classifier"


# --- A wrong declaration is found ----------------------------------------------------------------


@declares(lambda me, x: Cost(up=8))
def misdeclared(me, x):
    yield Transfer(x.shape, 64, BOTH, x.share)


def test_a_wrong_declaration_fails_the_trace() -> None:
    with pytest.raises(AssertionError, match="misdeclared declares"):
        trace(lambda me: misdeclared(me, Additive(Abstract((1,)), 64)))


def test_an_undeclared_transfer_fails_the_trace() -> None:
    def program(me):
        yield Transfer((3,), 64, BOTH, Abstract((3,)))

    with pytest.raises(AssertionError, match="no declared cost"):
        trace(program)
