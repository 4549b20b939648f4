"""Opened forms: every path equals the reference, and the reference equals what it stands for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from veilform import kernels
from veilform.kernels import reference

MAX = 2**64 - 1
EXTREME = np.array([0, 1, 2**16 - 1, 2**32, 2**62, 2**63 - 1, 2**63, MAX], np.uint64)

common = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
rings = st.integers(1, 64).flatmap(
    lambda bits: st.tuples(st.just(bits), st.integers(0, max(bits - 2, 0)))
)
lengths = st.one_of(st.integers(0, 20), st.sampled_from([255, 256, 257, 600]))
kinds = st.sampled_from([None, np.uint16, np.uint32, np.uint64])


def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any = np.uint64) -> Any:
    if dtype is None:
        return None
    out = rng.integers(0, MAX, shape, np.uint64, endpoint=True)
    return np.where(rng.random(shape) < 1 / 3, rng.choice(EXTREME, shape), out).astype(dtype)


@common
@given(ring=rings, size=lengths, lead=st.booleans(), h=kinds, qh=kinds, seed=st.integers(0, 2**32))
def test_share_and_square_equal_the_reference(
    path: str, ring: tuple[int, int], size: int, lead: bool, h: Any, qh: Any, seed: int
) -> None:
    (bits, t), rng = ring, np.random.default_rng(seed)
    y, q, q2 = (draw(rng, (size,)) for _ in range(3))
    hs, qhs = draw(rng, (size,), h), draw(rng, (size,), qh)
    np.testing.assert_array_equal(
        kernels.opened_share(y, t, bits, lead, q, hs),
        reference.opened_share(y, t, bits, lead, q, hs),
    )
    np.testing.assert_array_equal(
        kernels.opened_square(y, t, bits, lead, q, hs, q2, qhs),
        reference.opened_square(y, t, bits, lead, q, hs, q2, qhs),
    )


@common
@given(
    bits=st.sampled_from([2, 5, 16, 63, 64]),
    ts=st.tuples(st.integers(0, 62), st.integers(0, 62)),
    shape=st.tuples(st.integers(0, 9), st.integers(0, 70)),
    repeat=st.booleans(), lead=st.booleans(), h=st.tuples(*[kinds] * 5),
    seed=st.integers(0, 2**32),
)  # fmt: skip
def test_product_equals_the_reference(
    path: str, bits: int, ts: tuple[int, int], shape: tuple[int, int], repeat: bool, lead: bool,
    h: tuple[Any, ...], seed: int,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    ta, tb = (min(t, bits - 2) for t in ts)
    b = (shape[0], 1) if repeat else shape
    args = (
        draw(rng, shape), ta, draw(rng, b), tb, bits, lead,
        draw(rng, shape), draw(rng, shape, h[0]), draw(rng, b), draw(rng, b, h[1]),
        draw(rng, shape), draw(rng, shape, h[2]), draw(rng, shape, h[3]), draw(rng, shape, h[4]),
    )  # fmt: skip
    np.testing.assert_array_equal(kernels.opened_product(*args), reference.opened_product(*args))


def test_large_arrays_are_split_over_threads(path: str) -> None:
    rng = np.random.default_rng(0)
    y, q, q2 = (draw(rng, (5, 20_001)) for _ in range(3))
    h = draw(rng, y.shape, np.uint16)
    one, many = [], []
    for threads, out in ((1, one), (3, many)):
        kernels.set_threads(threads)
        out.append(kernels.opened_square(y, 13, 64, True, q, h, q2, h))
        b = y[:, :1]
        out.append(
            kernels.opened_product(y, 13, b, 9, 64, True, q, h, q[:, :1], h[:, :1], q2, h, None, h)
        )
    for x, z in zip(one, many, strict=True):
        np.testing.assert_array_equal(x, z)


def shares(rng: np.random.Generator, x: np.ndarray, mask: np.uint64) -> tuple[Any, Any]:
    mine = draw(rng, x.shape)
    return mine & mask, (x - mine) & mask


@pytest.mark.parametrize("bits", [8, 16, 64])
@pytest.mark.parametrize("t", [0, 3, 6])
def test_the_forms_mean_what_they_say(path: str, bits: int, t: int) -> None:
    """Two parties' shares add up to x >> t (or one more), its square, and a product."""
    rng = np.random.default_rng(bits + t)
    mask, limit, n = np.uint64(2**bits - 1), 2 ** (bits - 2), 500
    low, high = np.uint64(t), np.uint64(bits - 1)

    def opened() -> dict[str, Any]:
        x = rng.integers(-limit, limit, n)
        rho = draw(rng, (n,)) & mask
        y = (x.astype(np.uint64) + rho + np.uint64(limit if t else 0)) & mask
        return {"x": x, "y": y, "q": rho >> low, "h": rho >> high}

    a, b = opened(), opened()
    split = {
        name: shares(rng, value, mask)
        for name, value in {
            "qa": a["q"], "ha": a["h"], "qb": b["q"], "hb": b["h"], "q2": a["q"] * a["q"],
            "qh": a["q"] * a["h"], "qaqb": a["q"] * b["q"], "qahb": a["q"] * b["h"],
            "haqb": a["h"] * b["q"], "hahb": a["h"] * b["h"],
        }.items()
    }  # fmt: skip

    def both(function: Any, *public: Any, terms: tuple[str, ...]) -> Any:
        sides = [function(*public, s == 0, *(split[x][s] for x in terms)) for s in (0, 1)]
        return (sides[0] + sides[1]) & mask

    xa = both(kernels.opened_share, a["y"], t, bits, terms=("qa", "ha"))
    error = (xa - (a["x"] >> t).astype(np.uint64)) & mask
    assert set(error.tolist()) <= ({0, 1} if t else {0})
    square = both(kernels.opened_square, a["y"], t, bits, terms=("qa", "ha", "q2", "qh"))
    np.testing.assert_array_equal(square, xa * xa & mask)

    xb = both(kernels.opened_share, b["y"], t, bits, terms=("qb", "hb"))
    names = ("qa", "ha", "qb", "hb", "qaqb", "qahb", "haqb", "hahb")
    product = both(kernels.opened_product, a["y"], t, b["y"], t, bits, terms=names)
    np.testing.assert_array_equal(product, xa * xb & mask)


def test_narrow_words_suffice(path: str) -> None:
    """Terms multiplied by 2^(bits-t) may be reduced modulo 2^t."""
    rng = np.random.default_rng(1)
    y, q, h, q2, qh = (draw(rng, (300,)) for _ in range(5))
    narrow = [x.astype(np.uint16) for x in (h, qh)]
    np.testing.assert_array_equal(
        kernels.opened_square(y, 13, 64, True, q, h, q2, qh),
        kernels.opened_square(y, 13, 64, True, q, narrow[0], q2, narrow[1]),
    )


Z = np.zeros((2, 3), np.uint64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": Z.astype(np.int64)}, "y must be uint64"),
        ({"q": Z[0]}, "q has shape"),
        ({"q": Z.astype(np.uint32)}, "q must be uint64, not uint32"),
        ({"h": Z.astype(np.uint8)}, "h must be uint16, uint32 or uint64, not uint8"),
        ({"h": Z[:, :1]}, "h has shape"),
        ({"h": [1]}, "h must be a NumPy array"),
        ({"t": 63}, "t must lie in"),
        ({"t": -1}, "t must lie in"),
        ({"bits": 65}, "1 to 64 bits"),
        ({"bits": 0}, "1 to 64 bits"),
        ({"t": 7, "bits": 8}, "t must lie in"),
    ],
)
def test_wrong_arguments(path: str, change: dict[str, Any], message: str) -> None:
    args = {"y": Z, "t": 3, "bits": 64, "lead": True, "q": Z, "h": Z} | change
    with pytest.raises(ValueError, match=message):
        kernels.opened_share(**args)
    with pytest.raises(ValueError, match=message):
        kernels.opened_square(**args, q2=Z, qh=Z)


@pytest.mark.parametrize("shape", [(2,), (2, 2), (1, 3), (1, 2, 3)])
def test_wrong_broadcast(path: str, shape: tuple[int, ...]) -> None:
    b = np.zeros(shape, np.uint64)
    with pytest.raises(ValueError, match="yb has shape"):
        kernels.opened_product(Z, 3, b, 3, 64, True, Z, Z, b, b, Z, Z, Z, Z)
