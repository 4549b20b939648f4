"""Plans of scales and rings for layers of any size: refused, or fit to run."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.checkpoints import make_tiny
from tests.models.secure import Tiny
from tests.protocol.harness import checked

from veilform.drive.trace import trace
from veilform.errors import ModelError
from veilform.models.bert import scaling, widths
from veilform.models.bert.bounds import LayerBounds
from veilform.models.bert.calibration import LayerCalibration, Range, RowRange
from veilform.models.bert.config import BertConfig
from veilform.models.bert.secure import SecureBert
from veilform.nn.scales import HIDDEN, WEIGHT, HeadScales, Scales, Window
from veilform.protocol.tables import Table
from veilform.ring import WORD


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> BertConfig:
    folder = make_tiny(tmp_path_factory.mktemp("tiny"), calibrated=True, num_hidden_layers=1)
    return Tiny.load(folder).config


def sizes(low: float, high: float) -> st.SearchStrategy[float]:
    """Of all magnitudes alike."""
    return st.floats(math.log2(low), math.log2(high)).map(lambda e: 2.0**e)


BOUNDS = st.builds(
    LayerBounds, scores=sizes(5.1, 30_000), values=sizes(0.1, 100_000),
    attention_row=sizes(1, 10_000), inner=sizes(1, 3_000), feedforward_row=sizes(10, 300_000),
)  # fmt: skip
RANGE = st.tuples(sizes(0.01, 100), sizes(1, 300)).map(lambda r: Range(r[0], r[0] * r[1]))


def end(table: Table, window: Window, cells: int) -> float:
    """So many cells beyond the range's end: what an input may be while no flag is raised."""
    start = window.highest if cells > 0 else window.lowest
    return ((start >> table.low) + cells) * 2.0**table.low


def test_bits_of_a_bound_are_exact() -> None:
    for power in range(-60, 61):
        bound = 2.0**power
        assert widths.bits_of(bound) == power
        assert widths.bits_of(math.nextafter(bound, math.inf)) == power + 1
        assert widths.bits_of(math.nextafter(bound, 0)) == power


@checked(400)
@given(
    bounds=BOUNDS, ranges=st.tuples(RANGE, RANGE, RANGE), length=st.sampled_from([16, 64, 512]),
    room=st.integers(44, 64),
)  # fmt: skip
def test_a_layer_s_plan_is_refused_or_holds(
    config: BertConfig, bounds: LayerBounds, ranges, length: int, room: int
) -> None:
    measured = LayerCalibration(*(RowRange(one) for one in ranges), {})
    try:
        layer = scaling._layer(config, 0, bounds, measured, length, room)
    except ModelError:
        assume(False)
    a, f = layer.attention, layer.feedforward
    assert max(a.qkv, a.projected) <= room, "a layer asks for more than the one before can give"
    # What is lifted, in its own units, is at most a quarter of its ring.
    ends = 2.0 ** (HIDDEN + WEIGHT - a.value_shift)
    assert bounds.values * ends <= 2.0 ** (a.value - 2), "values do not fit"
    assert bounds.scores * 2.0**scaling.SCORE <= 2.0 ** (a.score - 2), "scores do not fit"
    x = a.division
    assert x is not None
    table = x.table(a.weighted)
    most = end(table, x.denominator, 2) * bounds.values * ends * 2.0**-x.context_shift
    assert most <= 2.0 ** (x.context - 2), "a context does not fit, and no flag would tell"
    largest = 2.0 ** (a.numerator + table.scale - x.reciprocal_shift)
    largest /= end(table, x.denominator, -2)
    assert 0 < largest <= 2.0 ** (x.reciprocal - 2), "a reciprocal does not fit"
    assert bounds.inner * 2.0**HIDDEN <= 2.0 ** (f.inner - 2), "inner elements do not fit"
    rows = (bounds.attention_row, bounds.feedforward_row)
    for norm, row in zip((layer.attention_norm, layer.feedforward_norm), rows, strict=True):
        d = config.hidden_size
        unit = 2.0 ** (norm.input - norm.centre_shift)
        assert d * row * unit <= 2.0 ** (norm.centred - 2), "a centred row does not fit"
        assert d * row * 2.0**norm.input <= 2.0 ** (norm.ring - 2), "a row's sums do not fit"
        least = end(norm.table, norm.sum_of_squares, -2)
        root = math.sqrt(d / least) * 2.0 ** (norm.table.scale - norm.root_shift)
        assert root <= 2.0 ** (norm.root - 2), "a reciprocal root does not fit"
    # Every drop and every linear layer finds the ring that it asks for.
    last = layer.feedforward_norm.output
    scales = Scales(
        length, max(a.qkv, a.projected), (layer,), HeadScales(min(10, last - 20), last, 12)
    )
    if scales.input <= WORD:
        trace(SecureBert(msgspec.structs.replace(config, num_hidden_layers=1), scales).abstract)
