"""Into and out of sharing."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.protocol.harness import SEEDS, SHAPES, anywhere, as_additive, checked, play, values

from veilform.masks import Centre, Columns, Heads, Row, Transpose
from veilform.protocol.share import mask_private, preshare, reveal
from veilform.ring import signed

SEEDED = {"shape": SHAPES, "seed": SEEDS, "ring": st.integers(1, 64)}


@checked(40)
@given(**SEEDED)
def test_preshare_keeps_the_value(shape: tuple[int, ...], seed: int, ring: int) -> None:
    x = anywhere(np.random.default_rng(seed), shape, ring)
    out = play(preshare, [x], rings=[ring], seed=seed)
    assert np.array_equal(out.joined(), x), "presharing changed the value"
    assert out.client.mask == out.server.mask, "the parties name different masks"


@checked(40)
@given(**SEEDED)
def test_mask_private_keeps_the_value(shape: tuple[int, ...], seed: int, ring: int) -> None:
    x = anywhere(np.random.default_rng(seed), shape, ring)

    def program(me, mine):
        opened = yield from mask_private(me, mine, shape, ring)
        return as_additive(me, opened), opened

    out = play(program, private=x, seed=seed)
    assert np.array_equal(out.joined(0), x), "masking changed the value"
    assert np.array_equal(out.client[1].y, out.server[1].y), "the parties opened different values"


@checked(40)
@given(**SEEDED)
def test_reveal_tells_the_client_alone(shape: tuple[int, ...], seed: int, ring: int) -> None:
    x = anywhere(np.random.default_rng(seed), shape, ring)

    def program(me, a):
        plain = yield from reveal(me, a)
        fixed = yield from preshare(me, a)
        again = yield from reveal(me, fixed)
        return plain, again

    out = play(program, [x], rings=[ring], seed=seed)
    for one in out.client:
        assert int(one.max()) < 2**ring, "what is revealed is not an element of the ring"
        assert np.array_equal(signed(one, ring), x), "the client reads another value"
    assert out.server == (None, None), "the server got something"
    assert out.trace.total.up == (x.size + 7) // 8 if ring == 1 else (ring + 7) // 8 * x.size, (
        "only presharing sends upwards"
    )


def test_preshared_views_move_share_and_mask_alike() -> None:
    x = values(np.random.default_rng(5), (2, 6, 8), 50)
    chains = [
        ((Columns(2, 6),), x[..., 2:6]),
        ((Heads(4),), x.reshape(2, 6, 4, 2).swapaxes(1, 2)),
        ((Heads(2), Transpose()), x.reshape(2, 6, 2, 4).swapaxes(1, 2).swapaxes(-1, -2)),
        ((Row(3),), x[:, 3:4]),
        ((Centre(),), x * 8 - x.sum(-1, keepdims=True)),
    ]
    for chain, wanted in chains:

        def program(me, a, chain=chain):
            held = yield from preshare(me, a)
            masked = held
            for view in chain:
                masked = masked.view(view)
            return masked, held

        out = play(program, [x])
        assert np.array_equal(out.joined(0), wanted), f"{chain} shows another value"
        mask = out.client[0].mask.of(out.client[1].share)
        assert np.array_equal(mask, out.client[0].share), f"{chain}: the named mask is another"
