"""Secure convolutions and pools: every kind, against sums written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.protocol.harness import SEEDS, anywhere, checked, play, values, words
from tests.test_winograd import direct

from veilform import winograd
from veilform.nn.convolution import Convolution
from veilform.nn.pool import Pool, max_pool, sum_pixels, sum_pool
from veilform.protocol.linear import linear
from veilform.protocol.share import preshare
from veilform.ring import signed
from veilform.roles import SERVER


def by_groups(x: np.ndarray, kernel: np.ndarray, conv: Convolution) -> np.ndarray:
    """The convolution of int64 images with a kernel (K, C / G, size, size), modulo 2^64."""
    images = np.split(words(x), conv.groups, axis=-1)
    kernels = np.split(words(kernel), conv.groups, axis=0)
    parts = [
        direct(image, one.transpose(2, 3, 1, 0), conv.stride, conv.padding)
        for image, one in zip(images, kernels, strict=True)
    ]
    return np.concatenate(parts, axis=-1)


@checked(60)
@given(
    size=st.integers(1, 3), stride=st.integers(1, 2), padding=st.integers(0, 2),
    groups=st.integers(1, 3), each_in=st.integers(1, 3), each_out=st.integers(1, 3),
    height=st.integers(3, 6), width=st.integers(3, 6), tile=st.sampled_from([0, 2, 4]),
    ring=st.integers(8, 64), seed=SEEDS,
)  # fmt: skip
def test_every_kind(
    size, stride, padding, groups, each_in, each_out, height, width, tile, ring, seed
) -> None:
    conv = Convolution(each_in * groups, each_out * groups, size, stride, padding, groups)
    tile = tile if conv.winograd else 0
    shift = winograd.TRANSFORMS[tile].shift if tile else seed % 3
    rng = np.random.default_rng(seed)
    x = anywhere(rng, (2, height, width, conv.inputs), ring)
    kernel = values(rng, (conv.outputs, each_in, size, size), 16)
    weights = {n: w.view(np.int64) for n, w in conv.arranged("w", kernel, tile, shift).items()}
    assert {name: w.shape for name, w in weights.items()} == conv.weights("w", tile)

    def program(me, a, *held):
        named = {weight.name: weight for weight in held}
        image = yield from preshare(me, a)
        return (yield from linear(me, conv.products(image, "w", named.__getitem__, tile), ring))

    ran = play(program, [x], rings=[ring], weights=weights, seed=seed)
    wanted = signed(by_groups(x, kernel, conv) << np.uint64(shift), ring)
    assert np.array_equal(ran.joined(), wanted), f"{conv} by tiles of {tile} goes wrong"
    work = 0 if conv.depthwise else 2 * conv.multiply_adds(height, width, tile)
    assert ran.multiply_adds[SERVER] == work
    assert (ran.trace.total.up, ran.trace.total.down) == (x.size * ((ring + 7) // 8), 0)
    assert ran.trace.total.dealt_server == ran.trace.total.correction
    assert ran.trace.total.correction == wanted.size * ((ring + 7) // 8)


@checked(40)
@given(
    size=st.integers(1, 3), stride=st.integers(1, 3), padding=st.integers(0, 1),
    height=st.integers(3, 7), width=st.integers(3, 7), seed=SEEDS,
)  # fmt: skip
def test_max_pool(size, stride, padding, height, width, seed) -> None:
    pool = Pool(size, stride, min(padding, size - 1))
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 2**9, (2, height, width, 2), np.int64)
    out = play(lambda me, a: max_pool(me, a, pool), [x], rings=[10], seed=seed).joined()
    edges = (pool.padding, pool.padding)
    padded = np.pad(x, [(0, 0), edges, edges, (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (1, 2))
    assert np.array_equal(out, windows[:, ::stride, ::stride].max((4, 5)))


@pytest.mark.parametrize("pool", [Pool(2, 2), Pool(3, 2, 1)])
def test_sums_are_local(pool: Pool) -> None:
    x = np.arange(2 * 4 * 4 * 3).reshape(2, 4, 4, 3)

    def program(me, a):
        image = yield from preshare(me, a)
        return sum_pool(image, pool), sum_pixels(image)

    ran = play(program, [x], rings=[20])
    edges = (pool.padding, pool.padding)
    padded = np.pad(x, [(0, 0), edges, edges, (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (pool.size, pool.size), (1, 2))
    wanted = windows[:, :: pool.stride, :: pool.stride].sum((4, 5))
    assert np.array_equal(ran.joined(0), wanted)
    assert np.array_equal(ran.joined(1), x.sum((1, 2)))
    assert ran.trace.messages == 1, "a sum over pixels sends something"
