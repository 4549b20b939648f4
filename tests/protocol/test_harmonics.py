"""Fourier series of shared values: what the integers say they are, wherever and however opened."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.protocol.harness import SEEDS, SHAPES, anywhere, checked, play, values

from veilform.approx.gelu import gelu
from veilform.errors import ModelError
from veilform.protocol.harmonics import evaluate, harmonics
from veilform.protocol.opening import open_value
from veilform.protocol.series import Fit, Series, fit_even
from veilform.protocol.share import preshare
from veilform.roles import CLIENT, SERVER
from veilform.values import Additive


def gelu_even(x: np.ndarray) -> np.ndarray:
    """gelu(x) - x / 2."""
    return gelu(x) - x / 2


SERIES = st.builds(
    lambda period, terms, constant, scale, phasor: Series(
        period, tuple(sorted({k for k, _, _ in terms})),
        *(tuple({t[0]: t[i] for t in terms}[k] for k in sorted({t[0] for t in terms}))
          for i in (1, 2)),
        constant, scale, phasor,
    ),
    st.integers(1, 32),
    st.lists(
        st.tuples(st.integers(1, 40), *2 * [st.integers(-(2**20), 2**20)]), min_size=1, max_size=4
    ),
    st.integers(-(2**20), 2**20), st.integers(0, 20), st.integers(2, 20),
)  # fmt: skip


def off_by(got: np.ndarray, series: Series, x: np.ndarray, fraction: int) -> float:
    """Largest error, in real units."""
    turns = np.array([int(v) % 2**series.period for v in x.ravel()]).reshape(x.shape)
    return float(np.abs(got * 2.0**-fraction - series.plain(turns)).max())


@checked(100)
@given(shape=SHAPES, seed=SEEDS, series=SERIES, above=st.integers(0, 32), forms=st.booleans())
def test_any_series_of_any_value(shape, seed: int, series: Series, above: int, forms: bool) -> None:
    ring = series.period + above
    x = anywhere(np.random.default_rng(seed), shape, ring)

    def program(me, a):
        held = (yield from preshare(me, a)) if forms else a
        return (yield from harmonics(me, held, series, series.fraction, 52))

    out = play(program, [x], rings=[ring], seed=seed)
    assert off_by(out.joined(), series, x, series.fraction) <= series.rounding
    sent = math.prod(shape) * ((series.period + 7) // 8)
    assert out.trace.down[0] == (sent if series.period > 1 else (math.prod(shape) + 7) // 8)


@checked(60)
@given(shape=SHAPES, seed=SEEDS, series=SERIES, lifted=st.integers(0, 12), above=st.integers(2, 9))
def test_of_a_value_opened_for_something_else(shape, seed, series, lifted: int, above: int) -> None:
    """Also of a lifted one, whose offset is a part of the angle; no message of its own."""
    ring = series.period + above
    x = values(np.random.default_rng(seed), shape, ring - 2)

    def program(me, a):
        opened = yield from open_value(me, a, ring + lifted)
        return (yield from evaluate(me, opened, series, 52))

    out = play(program, [x], rings=[ring], seed=seed)
    assert off_by(out.joined(), series, x, series.fraction) <= series.rounding
    assert len(out.trace.up) == len(out.trace.down) == 1


@pytest.mark.parametrize("scale", [0, 9, 20, 29])
@pytest.mark.parametrize("bits", [18, 35])
def test_sums_are_dropped_to_the_scale_that_is_asked_for(scale: int, bits: int) -> None:
    series = fit_even(gelu_even, 6.0, 16.0, 2.0**-10).series(14, 2.0**-11)
    x = np.arange(-6 * 1024, 6 * 1024 + 1)
    out = play(lambda me, a: harmonics(me, a, series, scale, bits), [x], rings=[20])
    got = out.joined()
    assert out.client.bits == bits
    if scale + 4 < bits:
        assert off_by(got, series, x, scale) <= series.rounding + 2.0**-scale


def test_gelu() -> None:
    fit = fit_even(gelu_even, 6.0, 16.0, 2.0**-10)
    series = fit.series(14, 2.0**-11)
    x = np.arange(-6 * 1024, 6 * 1024 + 1)
    out = play(lambda me, a: harmonics(me, a, series, 12, 18), [x], rings=[20])
    error = np.abs(out.joined() * 2.0**-12 - gelu_even(x / 1024)).max()
    assert error <= fit.error + 2.0**-11 + 2.0**-12
    assert len(series.orders) == 7
    assert fit.error < 2.0**-10


def test_the_parties_take_the_same_and_the_dealer_sends_what_is_declared() -> None:
    series = Series(10, (1, 4), (5, 6), (0, 7), 1, 10, 8)
    x = np.arange(12).reshape(3, 4)
    out = play(lambda me, a: harmonics(me, a, series, 10, 30), [x], rings=[16])
    total = out.trace.total
    assert (total.up, total.down) == (2 * 12, 2 * 12)
    assert (total.dealt_client, total.dealt_server) == (0, 2 * 2 * 12 * 5)
    fields = {role: out.trace.specs[-1].fields(role) for role in (CLIENT, SERVER)}
    assert [f.name for f in fields[CLIENT]] == ["cos1", "sin1", "cos4", "sin4"]
    assert {f.bits for f in fields[SERVER]} == {38}


def test_wrong_arguments() -> None:
    series = Series(10, (1,), (5,), (0,), 0, 10, 8)
    x = np.arange(4)
    for rings, scale, bits, message in (
        (9, 10, 30, "cannot be read"),
        (12, 19, 30, "do not follow"),
        (12, 10, 57, "do not follow"),
    ):
        with pytest.raises(ValueError, match=message):
            play(lambda me, a, s=scale, b=bits: harmonics(me, a, series, s, b), [x], rings=[rings])

    def narrow(me, a: Additive):
        return (yield from evaluate(me, (yield from open_value(me, a)), series, 30))

    with pytest.raises(ValueError, match="opened in 9 bits"):
        play(narrow, [x], rings=[9])


@pytest.mark.parametrize(
    "change",
    [
        {"orders": ()},
        {"orders": (0,)},
        {"orders": (2, 1), "cosines": (1, 1), "sines": (1, 1)},
        {"orders": (1, 1), "cosines": (1, 1), "sines": (1, 1)},
        {"orders": (1, 2)},
        {"orders": (2**16 + 1,)},
        {"cosines": (2**30 + 1,)},
        {"sines": (-(2**30) - 1,)},
        {"period": 33},
        {"period": 0},
        {"phasor": 1},
        {"phasor": 29},
        {"scale": -1},
    ],
)
def test_no_series(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="series"):
        msgspec.structs.replace(Series(10, (1,), (5,), (0,), 0, 10, 8), **change)


@checked(30)
@given(
    domain=st.floats(0.5, 8), ratio=st.floats(2.5, 3.0), power=st.integers(6, 11),
    period=st.integers(8, 24),
)  # fmt: skip
def test_fits_keep_their_errors(domain: float, ratio: float, power: int, period: int) -> None:
    tolerance = 2.0**-power
    fit = fit_even(gelu_even, domain, ratio * domain, tolerance)
    x = np.linspace(-domain, domain, 999)
    series = fit.series(period, tolerance)
    units = x / fit.period * 2.0**period
    assert fit.error <= tolerance
    coefficients = (len(series.orders) + 1) / 2 * 2.0**-series.scale
    assert np.abs(series.plain(units) - gelu_even(x)).max() <= fit.error * 1.01 + coefficients
    assert series.rounding + coefficients <= tolerance


def test_what_cannot_be_fitted() -> None:
    with pytest.raises(ValueError, match="leaves no gap"):
        fit_even(gelu_even, 8.0, 16.0, 0.01)
    with pytest.raises(ModelError, match="do not bring the error"):
        fit_even(gelu_even, 6.0, 12.001, 1e-8)
    with pytest.raises(ModelError, match="cannot be rounded"):
        Fit(0.0, (1e7, -1e7), 1.0, 3.0, 0.0).series(10, 1e-6)
