"""The cost formulas of docs/protocols.md, section 18, against traces."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from tests.checkpoints import make_tiny
from tests.families import make_family

import veilform
from veilform.approx import registry
from veilform.approx.entry import Activation
from veilform.drive.trace import Trace, trace
from veilform.models.bert.secure import SecureBert
from veilform.models.bert.sides import ServerSide, Shape
from veilform.models.checkpoint import resolve
from veilform.nn.scales import (
    HIDDEN,
    SCORE,
    WEIGHT,
    AttentionScales,
    FeedForwardScales,
    NormScales,
    Scales,
)
from veilform.protocol.cost import Cost
from veilform.protocol.tables import Table

PAGE = Path(__file__).parents[2] / "docs" / "protocols.md"


def w(bits: int) -> int:
    """Bytes of a word; none for no bits or fewer."""
    return (max(bits, 0) + 7) // 8


def opened(table: Table) -> int:
    """Bytes of a look-up's opened index, of one element."""
    return w(table.bits)


def keys(table: Table) -> int:
    """Bytes of a look-up's point function: a value word at every level."""
    return 33 * table.bits


def plus(*costs: Cost) -> Cost:
    total = Cost()
    for cost in costs:
        total = total.plus(cost)
    return total


def attention(a: AttentionScales, n: int, rows: int, d: int, s: int) -> Cost:
    raw, squared = a.score + a.score_shift, a.weighted + 2 * SCORE - a.numerator
    assert a.division is not None
    t, x = a.weighted, a.division
    g = x.table(t)
    moved = rows * s * (w(a.score) + w(t)) + n * d * (w(t) + w(x.context))
    moved += rows * (w(t) + opened(g) + w(x.reciprocal))
    dealt = 3 * n * d * w(a.qkv) + 2 * n * d * (w(t) + w(t - a.value)) + rows * s * w(raw)
    dealt += 2 * rows * s * (w(squared) + w(squared - a.score)) + (n * d + rows) * w(t)
    dealt += n * d * (16 + 2 * w(64 - x.context) + w(64 - x.reciprocal))
    dealt += n * d * (w(64 - x.context - x.reciprocal) + w(a.projected))
    dealt += rows * (8 + w(64 - x.reciprocal))
    return Cost(
        up=moved + n * d * w(a.projected),
        down=moved + n * d * (2 * w(raw) + w(a.value)),
        dealt_client=rows * keys(g),
        dealt_server=dealt + rows * keys(g),
        correction=3 * n * d * w(a.qkv) + n * d * w(a.projected),
        server_multiply_adds=4 * n * d * d + 4 * n * s * d + 2 * rows * s,
        client_multiply_adds=4 * n * s * d + 2 * rows * s,
    )


def norm(x: NormScales, n: int, d: int) -> Cost:
    moved = n * (8 + opened(x.table) + w(x.root))
    dealt = n * d * (24 + 3 * w(64 - x.centred) + w(64 - x.root) + w(64 - x.centred - x.root))
    dealt += n * (8 + w(64 - x.root))
    table = n * keys(x.table)
    up, down = moved + n * d * w(x.output), moved + n * d * w(x.centred)
    return Cost(up, down, table, dealt + table)


def feedforward(f: FeedForwardScales, n: int, d: int, inner: int) -> Cost:
    wide, out = f.inner + WEIGHT, f.output
    squared = out + 2 * HIDDEN - f.active
    corr = n * inner * w(wide) + n * d * w(out)
    return Cost(
        up=n * inner * w(out),
        down=n * inner * w(f.inner),
        dealt_server=corr + 2 * n * inner * (w(squared) + w(squared - f.inner)),
        correction=corr,
        server_multiply_adds=2 * n * d * inner,
    )


def ends(x: Scales, batch: int, d: int, labels: int, bits: int, classifier: bool = True) -> Cost:
    """Input, mean pooling, classifier (or the last gain, ``labels`` being d), checked reveal."""
    n, h = batch * x.length, x.head.ring
    index, key = w(bits), 17 * bits + 16
    pooling = 2 * n * d
    return Cost(
        up=n * (d * w(x.input) + w(x.mask) + w(h)) + batch * (d * w(h) + labels * index),
        down=n * d * w(h) + batch * labels * (index + 2 * w(h - x.head.shift)),
        dealt_client=batch * labels * key,
        dealt_server=batch * (d * w(h) + labels * (w(h) + key)),
        correction=batch * labels * w(h),
        client_multiply_adds=pooling,
        server_multiply_adds=pooling + batch * d * labels * classifier,
    )


def by_formula(net: SecureBert) -> Cost:
    config, scales = net.config, net.scales
    d, s = config.hidden_size, scales.length
    n, rows = net.batch * s, net.batch * s * config.num_attention_heads
    layers, checks = [], 0
    for x in scales.layers:
        layers += [
            attention(x.attention, n, rows, d, s),
            norm(x.attention_norm, n, d),
            feedforward(x.feedforward, n, d, config.intermediate_size),
            norm(x.feedforward_norm, n, d),
        ]
        checks += rows + 2 * n
    last = ends(scales, net.batch, d, config.outputs, checks.bit_length(), config.classifies)
    return plus(*layers, last)


def example(side: ServerSide) -> SecureBert:
    """12 layers of 768, each with the scales of the shipped student's second."""
    scales = side.scales.at(128)
    second = scales.layers[1]
    replace = msgspec.structs.replace
    # What leaves the last layer is in the ring that the head reads it in.
    last = replace(
        second, feedforward_norm=replace(second.feedforward_norm, output=scales.head.ring)
    )
    config = replace(
        side.config, num_hidden_layers=12, hidden_size=768, intermediate_size=3072,
        num_attention_heads=12,
    )  # fmt: skip
    return SecureBert(config, replace(scales, layers=(*[second] * 11, last)))


@pytest.fixture(scope="module")
def side() -> ServerSide:
    return ServerSide(resolve(veilform.DEFAULT_MODEL), only_calibrated=False)


def written(total: int) -> bool:
    """Whether the page says that number."""
    return f"{total:,}" in PAGE.read_text(encoding="utf-8")


def check(net: SecureBert) -> Trace:
    found = trace(net.abstract)
    assert by_formula(net) == found.total, "a formula of section 18 is wrong"
    layers = net.config.num_hidden_layers
    assert found.messages == 16 * layers + 4, "a run is not 16 L + 4 messages"
    return found


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("length", [16, 64])
def test_the_shipped_student(side: ServerSide, batch: int, length: int) -> None:
    found = check(SecureBert(side.config, side.scales.at(length), batch))
    if (batch, length) == (1, 64):
        for total in (found.total.up, found.total.down):
            assert written(total), f"docs/protocols.md does not say {total:,} bytes"


@pytest.mark.parametrize("batch", [1, 2])
def test_sentence_vectors(tmp_path: Path, batch: int) -> None:
    side = ServerSide(make_family(tmp_path, "roberta", "Model", calibrated=True))
    check(SecureBert(side.config, side.scales.at(32), batch))


def test_the_example(side: ServerSide) -> None:
    found = check(example(side))
    for total in (found.total.up, found.total.down):
        assert written(total), f"docs/protocols.md does not say {total:,} bytes"


MORE_MESSAGES = {"gelu": 2, "fourier-gelu": 2, "poly-gelu": 2, "softmax": 2 * 5, "softmax-ode": 14}
"""A layer of 32 tokens takes so many more with this than with Quad or 2Quad (section 23)."""


@pytest.mark.parametrize("name", registry.ENTRIES)
def test_messages_of_a_layer_with_any_function(name: str, tmp_path: Path) -> None:
    key = "hidden_act" if isinstance(registry.get(name), Activation) else "softmax_act"
    tiny = make_tiny(tmp_path, calibrated=True, num_hidden_layers=1, **{key: name})
    messages = ServerSide(tiny, only_calibrated=False).trace(Shape(1, 32)).messages
    assert messages == 20 + MORE_MESSAGES.get(name, 0)
