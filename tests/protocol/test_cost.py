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
from veilform.protocol.truncate import truncate
from veilform.roles import CLIENT, SERVER
from veilform.shapes import Abstract
from veilform.values import Additive

SHIFT = st.integers(1, 62)


def size(shift: int) -> int:
    """Bytes of a word of that many bits."""
    return (shift + 7) // 8


def last(program, inputs, **named) -> tuple[Cost, tuple[int, int]]:
    """The last protocol's cost, and the number of messages each way of the whole program."""
    out = play(program, inputs, **named)
    entry: Entry = out.trace.entries[-1]
    return entry.declared, (len(out.trace.up), len(out.trace.down))


@checked(40)
@given(shape=SHAPES, shift=SHIFT, bits=st.integers(1, 16))
def test_protocols_of_one_input(shape: tuple[int, ...], shift: int, bits: int) -> None:
    x, n = [np.ones(shape, np.int64)], math.prod(shape)
    flags, narrow = (n + 7) // 8, n * size(shift)

    assert last(preshare, x) == (Cost(up=8 * n), (1, 0))
    assert last(reveal, x) == (Cost(down=8 * n), (0, 1))
    assert last(open_value, x) == (Cost(up=8 * n, down=8 * n), (1, 1))
    wanted = Cost(up=8 * n, down=8 * n, dealt_server=8 * n + narrow)
    assert last(lambda me, a: open_value(me, a, shift), x) == (wanted, (1, 1))
    wanted = Cost(
        up=flags if bits == 1 else n * size(bits), down=flags if bits == 1 else n * size(bits)
    )
    assert last(lambda me, a: open_index(me, a, 3, bits), x) == (wanted, (1, 1))

    def cut(me, a):
        return (yield from truncate(me, (yield from preshare(me, a)), shift))

    wanted = Cost(up=flags if shift == 1 else narrow, down=flags, dealt_server=narrow)
    assert last(cut, x) == (wanted, (2, 1))

    def opened_once(me, a):
        return (yield from open_value(me, (yield from preshare(me, a)), shift))

    assert last(opened_once, x) == (Cost(down=8 * n, dealt_server=8 * n + narrow), (1, 1))


@checked(40)
@given(shape=SHAPES, shifts=st.tuples(*2 * [st.one_of(st.just(0), SHIFT)]))
def test_products(shape: tuple[int, ...], shifts: tuple[int, int]) -> None:
    x, n = np.ones(shape, np.int64), math.prod(shape)

    def squared(me, a):
        return (yield from square(me, (yield from open_value(me, a, shifts[0]))))

    cost, messages = last(squared, [x])
    assert cost == Cost(dealt_server=n * (8 + size(shifts[0]))), "a square's cost"
    assert messages == (1, 1), "a square sends something"

    def product(me, a, b):
        opened = yield from together(open_value(me, a, shifts[0]), open_value(me, b, shifts[1]))
        return (yield from multiply(me, *opened))

    both = max(0, sum(shifts) - 64) if all(shifts) else 0
    dealt = n * (8 + size(shifts[0]) + size(shifts[1]) + size(both))
    cost, messages = last(product, [x, x])
    assert cost == Cost(dealt_server=dealt), "a product's cost"
    assert messages == (1, 1), "two openings together are not one message"


@checked(30)
@given(batch=st.integers(1, 3), sizes=st.tuples(*3 * [st.integers(1, 7)]))
def test_matrix_products_and_their_work(batch: int, sizes: tuple[int, int, int]) -> None:
    m, inner, n = sizes

    def program(me, a, b):
        opened = yield from together(open_value(me, a), open_value(me, b))
        return (yield from matmul(me, *opened))

    inputs = [np.ones((batch, m, inner), np.int64), np.ones((batch, inner, n), np.int64)]
    out = play(program, inputs)
    work = 2 * batch * m * inner * n
    wanted = Cost(
        dealt_server=8 * batch * m * n, client_multiply_adds=work, server_multiply_adds=work
    )
    assert out.trace.entries[-1].declared == wanted
    assert out.multiply_adds == {CLIENT: work, SERVER: work}, "the kernels did other work"
    assert out.trace.dealer_multiply_adds == work // 2, "the dealer's work"


@checked(30)
@given(rows=st.integers(1, 5), width=st.integers(1, 6), out=st.integers(1, 6))
def test_linear_layers_and_their_work(rows: int, width: int, out: int) -> None:
    def program(me, a, b, matrix, gain):
        x, y = yield from together(preshare(me, a), preshare(me, b))
        return (yield from linear(me, [(x, matrix), (y, gain)]))

    inputs = [np.ones((rows, width), np.int64), np.ones((rows, out), np.int64)]
    weights = {"m": np.ones((width, out), np.int64), "g": np.ones(out, np.int64)}
    ran = play(program, inputs, weights=weights)
    n, work = rows * out, rows * width * out
    wanted = Cost(dealt_server=8 * n, correction=8 * n, server_multiply_adds=work)
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
        return (yield from mask_private(me, mine, shape))

    assert last(masked, [], private=x) == (Cost(up=8 * n), (1, 0))


@checked(10)
@given(seed=SEEDS)
def test_truncations_side_by_side_take_as_many_messages_as_one(seed: int) -> None:
    def program(me, *held):
        xs = yield from together(*(preshare(me, x) for x in held))
        return (yield from together(*(truncate(me, x, 9) for x in xs)))

    rng = np.random.default_rng(seed)
    out = play(program, [np.ones(int(n), np.int64) for n in rng.integers(1, 9, 4)])
    assert (len(out.trace.up), len(out.trace.down)) == (2, 1)


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
        trace(lambda me: misdeclared(me, Additive(Abstract((1,)))))


def test_an_undeclared_transfer_fails_the_trace() -> None:
    def program(me):
        yield Transfer((3,), 64, BOTH, Abstract((3,)))

    with pytest.raises(AssertionError, match="no declared cost"):
        trace(program)
