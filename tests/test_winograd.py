"""Winograd's convolution in the ring equals the direct one, bit for bit, whatever the shape."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.protocol.harness import SEEDS, checked

from veilform import kernels, winograd
from veilform.masks import Groups, Joined, Patches, Pixels, SumPool, Tap, Tiled, View
from veilform.ring import reduce
from veilform.shapes import Abstract

LEADS = st.lists(st.integers(1, 3), max_size=2).map(tuple)


def words(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, shape, np.uint64)


def direct(x: np.ndarray, kernel: np.ndarray, stride: int, padding: int) -> np.ndarray:
    """A convolution by its definition, pixel by pixel: the oracle of all others."""
    size, _, _, out = kernel.shape
    edges = (padding, padding)
    padded = np.pad(x, [(0, 0)] * (x.ndim - 3) + [edges, edges, (0, 0)])
    height, width = ((n - size) // stride + 1 for n in padded.shape[-3:-1])
    y = np.zeros((*x.shape[:-3], height, width, out), np.uint64)
    for i, j in itertools.product(range(height), range(width)):
        rows, columns = slice(i * stride, i * stride + size), slice(j * stride, j * stride + size)
        window = padded[..., rows, columns, :]
        y[..., i, j, :] = np.tensordot(window, kernel, 3)
    return y


@pytest.fixture(params=kernels.available())
def path(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each way to compute that this CPU offers."""
    before, threads = str(kernels.info()["path"]), kernels.threads()
    kernels.use(request.param)
    yield request.param
    kernels.use(before)
    kernels.set_threads(threads)


@pytest.mark.parametrize("tile", [2, 4])
@settings(checked(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lead=LEADS, height=st.integers(1, 13), width=st.integers(1, 13), padding=st.integers(0, 2),
    channels=st.integers(1, 20), out=st.integers(1, 18), bits=st.integers(1, 64), seed=SEEDS,
)  # fmt: skip
def test_every_shape(
    path: str, tile: int, lead: tuple[int, ...], height: int, width: int, padding: int,
    channels: int, out: int, bits: int, seed: int,
) -> None:  # fmt: skip
    if min(height, width) + 2 * padding < 3:
        return
    kernels.set_threads(1 + seed % 2)
    x, kernel = words(seed, *lead, height, width, channels), words(seed + 1, 3, 3, channels, out)
    wanted = direct(x, kernel, 1, padding) << np.uint64(winograd.TRANSFORMS[tile].shift)
    by = Tiled(tile, padding)
    stack = kernels.pack_stack(winograd.transform_kernels(kernel, tile))
    got = winograd.convolve(x, stack, tile, padding, bits)
    np.testing.assert_array_equal(got, reduce(wanted, bits))
    assert by.outer(x.shape, out) == wanted.shape
    assert by.inner(x.shape) == winograd.transform_inputs(x, tile, padding).shape
    onto = words(seed + 2, *wanted.shape)
    before = onto.copy()
    assert winograd.convolve(x, stack, tile, padding, bits, onto) is onto
    np.testing.assert_array_equal(onto, reduce(wanted + before, bits))


def test_images_too_small_for_a_window_are_refused() -> None:
    with pytest.raises(ValueError, match="no window"):
        Tiled(2, 0).inner((2, 5, 1))
    stack = kernels.pack_stack(words(1, 16, 3, 4))
    for shape, padding in (((1, 2, 5, 3), 0), ((1, 5, 5, 4), 1), ((1, 5, 5, 3), 3)):
        with pytest.raises(ValueError, match=r"fit|transform"):
            winograd.convolve(words(2, *shape), stack, 2, padding, 64)


def test_kernels_of_another_path_or_ring_are_refused(path: str) -> None:
    if path == "reference":
        pytest.skip("the reference path has one layout")
    stack = kernels.pack_stack(words(1, 16, 3, 4), 40)
    with pytest.raises(ValueError, match="40 bits"):
        winograd.convolve(words(2, 1, 5, 5, 3), stack, 2, 1, 41)


def test_small_kernels_stay_small_for_the_smaller_tile() -> None:
    """So they may be packed in few bytes; those of F(4, 3) are multiples of 1/9, any words."""
    kernel = np.random.default_rng(0).integers(-(2**12), 2**12, (3, 3, 4, 5), np.int64)
    made = winograd.transform_kernels(kernel.view(np.uint64), 2).view(np.int64)
    assert np.abs(made).max() <= 9 * 2**12
    wide = winograd.transform_kernels(kernel.view(np.uint64), 4) * np.uint64(9)
    assert np.abs(wide.view(np.int64)).max() <= 576 * 2**12


@checked(80)
@given(
    lead=LEADS, height=st.integers(1, 9), width=st.integers(1, 9), size=st.integers(1, 4),
    stride=st.integers(1, 3), padding=st.integers(0, 3), seed=SEEDS,
)  # fmt: skip
def test_windows(
    lead: tuple[int, ...], height: int, width: int, size: int, stride: int, padding: int, seed: int
) -> None:
    if min(height, width) + 2 * padding < size:
        with pytest.raises(ValueError, match="no window"):
            Patches(size, stride, padding).apply(words(seed, *lead, height, width, 2))
        return
    x, kernel = words(seed, *lead, height, width, 2), words(seed + 1, size, size, 2, 3)
    wanted = direct(x, kernel, stride, padding)
    patches = Patches(size, stride, padding).apply(x)
    np.testing.assert_array_equal(patches @ kernel.reshape(-1, 3), wanted)
    taps = [Tap(size, stride, padding, i).apply(x) for i in range(size**2)]
    by_taps = sum(tap @ kernel.reshape(-1, 2, 3)[i] for i, tap in enumerate(taps))
    np.testing.assert_array_equal(by_taps, wanted)
    np.testing.assert_array_equal(SumPool(size, stride, padding).apply(x), sum(taps))


@checked(40)
@given(lead=LEADS, count=st.integers(1, 4), each=st.integers(1, 3), seed=SEEDS)
def test_groups(lead: tuple[int, ...], count: int, each: int, seed: int) -> None:
    x = words(seed, *lead, 2, 3, count * each)
    parts = Groups(count).apply(x)
    for i in range(count):
        np.testing.assert_array_equal(parts[i], x[..., i * each : (i + 1) * each])
    np.testing.assert_array_equal(Joined().apply(parts), x)


VIEWS = [
    Patches(3, 2, 1), Tap(3, 1, 1, 5), SumPool(2, 2, 0), Pixels(), Groups(2),
]  # fmt: skip


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: type(view).__name__)
def test_views_are_linear_and_traced_alike(view: View) -> None:
    x, y = words(1, 2, 7, 6, 4), words(2, 2, 7, 6, 4)
    np.testing.assert_array_equal(view.apply(x - y), view.apply(x) - view.apply(y))
    assert view.apply(Abstract(x.shape)).shape == view.apply(x).shape


def test_the_way_back_is_traced_alike() -> None:
    x = words(3, 3, 2, 5, 4)
    assert Joined().apply(Abstract(x.shape)).shape == Joined().apply(x).shape


@pytest.mark.parametrize(
    ("view", "shape"),
    [
        (Groups(3), (2, 2, 4)),
        (Groups(0), (2, 2, 4)),
        (Tap(2, 1, 0, 4), (3, 3, 1)),
    ],
)
def test_a_view_that_does_not_fit(view: View, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"window|groups"):
        view.apply(Abstract(shape))
