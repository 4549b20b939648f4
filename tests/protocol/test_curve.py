"""Curves under sharing: within the tolerance in the window, exact lines beside it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.protocol.harness import SEEDS, SHAPES, anywhere, checked, play

from veilform.errors import ModelError
from veilform.protocol.cost import Cost
from veilform.protocol.curve import curve
from veilform.protocol.opening import open_value
from veilform.protocol.share import preshare
from veilform.protocol.tables import Curve
from veilform.protocol.tables import curve as fit


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


LINES = {
    "gelu": (gelu, -4.5, 4.5, (0, 0), (0, 1)),
    "tanh": (np.tanh, -5, 5, (-1, 0), (1, 0)),
    "exp": (np.exp, -9, 0, (0, 0), (1, 0)),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), -8, 8, (0, 0), (1, 0)),
}


def table(name: str, width: int, scale: int, tolerance: float, ring: int = 0) -> Curve:
    function, first, last, left, right = LINES[name]
    return fit(
        function, first, last, left=left, right=right, width=width, scale=scale,
        tolerance=tolerance, ring=ring or width + 8, out=scale + 8,
    )  # fmt: skip


TABLES = [
    (name, table(name, width, scale, tolerance, ring))
    for name in LINES
    for width, scale, tolerance, ring in [
        (20, 12, 2.0**-9, 0),
        (16, 10, 2.0**-6, 64),
        (40, 20, 2.0**-11, 48),
        (56, 24, 2.0**-8, 64),
    ]
]


@pytest.mark.parametrize(("name", "of"), TABLES, ids=lambda v: v if isinstance(v, str) else None)
@checked(12)
@given(shape=SHAPES, seed=SEEDS, preshared=st.booleans())
def test_within_the_tolerance(name: str, of: Curve, shape, seed: int, preshared: bool) -> None:
    function, first, last, left, right = LINES[name]
    scale = of.scale - 8
    rng = np.random.default_rng(seed)
    half, cell = 2 ** (of.width - 1), 2**of.low
    x = anywhere(rng, shape, of.width)
    near = rng.uniform(first - 2, last + 2, shape) * 2**scale
    x = np.where(rng.random(shape) < 0.7, near.astype(np.int64), x)
    x.flat[0] = int(rng.choice([first, last]) * 2**scale) + int(rng.integers(-2, 3))
    x = np.clip(x, -half, half - cell - 1)

    def program(me, a):
        held = (yield from preshare(me, a)) if preshared else a
        return (yield from curve(me, (yield from open_value(me, held)), of))

    out = play(program, [x], rings=[of.width], seed=seed)
    assert out.client.bits == of.ring
    real, got = x * 2.0**-scale, out.joined() * 2.0**-of.scale
    # One cell at each end may have its line of either side of the end.
    slack = cell * 2.0**-scale
    inside = (real >= first - slack) & (real <= last + slack)
    wanted = function(real[inside])
    assert (np.abs(got[inside] - wanted) <= of.error + gap(name, slack)).all(), (
        f"{name} of {real[inside]} comes out as {got[inside]}, not {wanted}"
    )
    for side, here in ((left, real < first - slack), (right, real > last + slack)):
        line = side[0] + side[1] * real
        assert np.array_equal(got[here], line[here]), f"{name}'s tail is not its line"


def gap(name: str, slack: float) -> float:
    """How far a line beside the window is from the function, up to one cell within."""
    function, first, last, left, right = LINES[name]
    gaps = [0.0]
    for edge, side, away in ((first, left, 1), (last, right, -1)):
        x = np.array([edge - away * slack, edge, edge + away * slack])
        gaps.append(float(np.abs(side[0] + side[1] * x - function(x)).max()))
    return max(gaps)


@pytest.mark.parametrize("name", LINES)
def test_a_finer_tolerance_is_a_longer_table(name: str) -> None:
    made = [table(name, 24, 14, 2.0**-bits) for bits in (5, 8, 11)]
    lengths = [len(of.segments.rows) >> of.segments.cap for of in made]
    assert lengths == sorted(set(lengths)), "a finer tolerance is no longer table"
    for of, bits in zip(made, (5, 8, 11), strict=True):
        assert 0 < of.error <= 2.0**-bits


@checked(20)
@given(shape=SHAPES, preshared=st.booleans())
def test_cost(shape, preshared: bool) -> None:
    of = table("gelu", 20, 12, 2.0**-9)

    def program(me, a):
        return (yield from curve(me, (yield from open_value(me, a)), of))

    out = play(program, [np.zeros(shape, np.int64)], rings=[20])
    keys = math.prod(shape) * of.bits * (17 + 2 * 4)
    assert out.trace.entries[-1].declared == Cost(dealt_client=keys, dealt_server=keys)
    assert out.trace.up == out.trace.down == (3 * math.prod(shape),), "the opening is all"


def test_a_curve_takes_an_opening_in_its_own_ring() -> None:
    of = table("gelu", 20, 12, 2.0**-9)

    def program(me, a, bits):
        return (yield from curve(me, (yield from open_value(me, a, bits)), of))

    for ring, bits in ((20, 30), (21, None)):
        with pytest.raises(ValueError, match="opened in such a ring"):
            play(lambda me, a, bits=bits: program(me, a, bits), [np.zeros(2)], rings=[ring])


@pytest.mark.parametrize(
    "change",
    [{"first": 3, "last": 3}, {"last": 300}, {"first": -129}, {"ring": 19}, {"out": 11}],
)
def test_windows_that_do_not_fit(change) -> None:
    args = {"first": -4, "last": 4, "left": (0, 0), "right": (0, 1), "width": 20, "scale": 12}
    args |= {"tolerance": 2.0**-8, "ring": 28, "out": 20}
    with pytest.raises(ValueError, match="no curve from"):
        fit(gelu, **(args | change))


def test_no_table_is_good_enough() -> None:
    with pytest.raises(ModelError, match="comes within"):
        table("gelu", 20, 4, 2.0**-30)
