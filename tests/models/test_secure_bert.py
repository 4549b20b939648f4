"""The secure model against the plain one, the flag, and the bounds that no wire may exceed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tests.checkpoints import TEXTS, make_tiny
from tests.models.secure import Tiny

from veilform import prg
from veilform.approx import registry
from veilform.approx.entry import Activation, Attention
from veilform.errors import ModelError
from veilform.models.bert import names
from veilform.models.bert.bounds import Affine, Gain, layer_bounds
from veilform.models.bert.calibrate import calibrate
from veilform.models.bert.calibration import Calibration, Range, RowRange
from veilform.models.bert.plain import PlainBert
from veilform.models.bert.secure import Inputs
from veilform.nn.scales import LOGIT
from veilform.protocol.opening import open_value
from veilform.ring import Words, signed
from veilform.roles import CLIENT, SERVER, Role

CLS = {"architectures": ["BertForSequenceClassification"], "pooling": None}
SEVEN = {str(i): f"LABEL_{i}" for i in range(7)}
CLOSE = 0.02

OTHER_ATTENTIONS = [
    name
    for name, entry in registry.ENTRIES.items()
    if isinstance(entry, Attention) and entry.secure is not None and name != "2quad"
]
OTHER_ACTIVATIONS = [
    name
    for name, entry in registry.ENTRIES.items()
    if isinstance(entry, Activation) and entry.secure is not None and name != "quad"
]
MODELS: dict[str, tuple[dict[str, Any], bool]] = {
    "mean pooling": ({}, False),
    "private embedding": ({}, True),
    "cls pooler": (CLS, False),
    "cls pooler, private embedding": (CLS, True),
    "one layer": ({"num_hidden_layers": 1}, False),
    "three layers": ({"num_hidden_layers": 3}, False),
    "seven labels": ({"id2label": SEVEN}, False),
    "one label": ({"id2label": {"0": "SCORE"}}, False),
    "four heads, odd widths": (
        {"hidden_size": 24, "num_attention_heads": 4, "intermediate_size": 20},
        False,
    ),
    "one head, cls": ({**CLS, "num_attention_heads": 1}, False),
    **{f"{name} for 2quad": ({"softmax_act": name}, False) for name in OTHER_ATTENTIONS},
    **{f"{name} for quad": ({"hidden_act": name}, False) for name in OTHER_ACTIVATIONS},
    "a mix by layers": (
        {
            "layer_hidden_acts": ["gelu", "quad"],
            "layer_softmax_acts": ["2quad", "softmax"],
        },
        False,
    ),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tiny]:
    folders = {name: tmp_path_factory.mktemp("tiny") for name in MODELS}
    return {
        name: Tiny.load(make_tiny(folders[name], seed=i, calibrated=True, **overrides), private)
        for i, (name, (overrides, private)) in enumerate(MODELS.items())
    }


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("batch", "length"), [(1, 16), (1, 32), (2, 24), (3, 24)])
def test_secure_equals_plain(made: dict[str, Tiny], name: str, batch: int, length: int) -> None:
    out = made[name].run(TEXTS[:batch], length)
    assert out.logits.shape == (batch, len(made[name].config.labels))
    assert out.flag == 0, "a text of the calibration raises the flag"
    assert out.error < CLOSE, f"logits {out.logits} are off by {out.error}"


@pytest.mark.parametrize("seed", range(6))
def test_other_weights(tmp_path: Path, seed: int) -> None:
    out = Tiny.load(make_tiny(tmp_path, seed=100 + seed, calibrated=True)).run(TEXTS, 32)
    assert out.flag == 0, "a text of the calibration raises the flag"
    assert out.error < CLOSE, f"logits are off by {out.error}"


def test_runs_differ_only_by_rounding(made: dict[str, Tiny]) -> None:
    runs = [made["mean pooling"].run(TEXTS[:2]).logits for _ in range(4)]
    spread = max(float(np.abs(run - runs[0]).max()) for run in runs)
    assert spread < 2 * CLOSE, f"fresh masks move the answer by {spread}"


# --- The flag ------------------------------------------------------------------------------------


def louder(factor: int) -> Any:
    """The client's rows, with one token of the first text scaled up."""

    def change(inputs: Inputs) -> Inputs:
        rows: Words = inputs.rows.copy()
        rows[0, 1] *= np.uint64(factor)
        return inputs._replace(rows=rows)

    return change


@pytest.mark.parametrize("name", ["mean pooling", "cls pooler"])
@pytest.mark.parametrize("factor", [8, 30])
def test_rows_out_of_range_raise_the_flag(made: dict[str, Tiny], name: str, factor: int) -> None:
    out = made[name].run(TEXTS[:2], 24, louder(factor))
    assert out.flag == 1, f"a row {factor} times too long passes silently"


@pytest.mark.parametrize("name", ["mean pooling", "cls pooler"])
def test_with_the_flag_the_answer_is_noise_of_its_ring(
    made: dict[str, Tiny], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any element of the logits' ring, new for each run of the same text."""
    numbers = iter(range(1, 1 << 20))
    monkeypatch.setattr(prg, "fresh_seed", lambda: next(numbers).to_bytes(16, "little"))
    tiny = made[name]
    last = tiny.scales(24).head
    half = 2.0 ** (last.ring - last.shift - 1 - LOGIT)
    runs = np.array([tiny.run(TEXTS[:2], 24, louder(8)).logits for _ in range(8)]) / half
    assert (np.abs(runs) <= 1).all(), "noise leaves the logits' ring"
    assert len(np.unique(runs)) == runs.size, "noise comes twice"
    # Of 32 uniform values: four standard deviations or more.
    assert np.abs(runs.mean()) < 0.4, f"noise leans: {runs}"
    assert 0.3 < np.abs(runs).mean() < 0.7, f"noise does not fill its ring: {runs}"


WIRES = ["denominator", "attention_variance", "feedforward_variance"]


def narrowed(calibration: Calibration, wire: str, layer: int, side: str) -> Calibration:
    """The same ranges, but for one that ends before, or starts behind, what the model does."""
    whole = getattr(calibration.layers[layer], wire).whole
    low, high = (whole.low / 40, whole.low / 30)
    if side == "below":
        low, high = whole.high * 2.5, whole.high * 3
    layers = list(calibration.layers)
    layers[layer] = msgspec.structs.replace(layers[layer], **{wire: RowRange(Range(low, high))})
    return msgspec.structs.replace(calibration, layers=tuple(layers))


@pytest.mark.parametrize("side", ["above", "below"])
@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("wire", WIRES)
def test_every_range_is_checked(made: dict[str, Tiny], wire: str, layer: int, side: str) -> None:
    tiny = made["mean pooling"]
    calibration = narrowed(tiny.calibration, wire, layer, side)
    out = Tiny.load(tiny.folder, calibration=calibration).run(TEXTS[:1], 24)
    assert out.flag == 1, f"{wire} of layer {layer}, {side} its range, passes silently"


def test_a_pooler_needs_no_range(tmp_path: Path) -> None:
    """tanh is known everywhere: inputs far outside of what a calibration saw are answered."""
    folder = make_tiny(tmp_path, **CLS)
    tensors = load_file(folder / "model.safetensors")
    tensors["bert.pooler.dense.weight"] *= 40
    save_file(tensors, folder / "model.safetensors")
    calibrate(folder, TEXTS).save(folder)
    tiny = Tiny.load(folder)
    out = tiny.run(TEXTS[:3], 24)
    pooler = tiny.calibration.pooler
    assert pooler is not None
    assert pooler.high > 8, "tanh is never flat in this test"
    assert (out.flag, out.error < CLOSE) == (0, True), f"off by {out.error}, flag {out.flag}"


def test_the_embedding_s_range_is_checked(made: dict[str, Tiny]) -> None:
    tiny = made["private embedding"]
    low = tiny.calibration.embedding_variance.whole.low
    narrow = RowRange(Range(low / 40, low / 30))
    calibration = msgspec.structs.replace(tiny.calibration, embedding_variance=narrow)
    out = Tiny.load(tiny.folder, private=True, calibration=calibration).run(TEXTS[:1], 24)
    assert out.flag == 1, "the embedding's variance leaves its range silently"


def test_one_text_of_a_batch_is_enough(made: dict[str, Tiny]) -> None:
    def change(inputs: Inputs) -> Inputs:
        rows = inputs.rows.copy()
        rows[2, 3] *= np.uint64(20)
        return inputs._replace(rows=rows)

    assert made["mean pooling"].run(TEXTS[:3], 24, change).flag == 1


# --- Bounds --------------------------------------------------------------------------------------


def gains(tiny: Tiny) -> list[Gain]:
    before = [Gain.read(tiny.tensors, names.EMBEDDING_NORM)]
    layers = range(tiny.config.num_hidden_layers)
    return before + [Gain.read(tiny.tensors, names.layer(i, names.OUT_NORM)) for i in layers]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("seed", range(3))
def test_no_wire_exceeds_its_bound(made: dict[str, Tiny], name: str, seed: int) -> None:
    tiny = made[name]
    rng = np.random.default_rng(seed)
    plain = PlainBert.load(tiny.folder, np.float64)
    seen: dict[str, np.ndarray] = {}
    ids = rng.integers(0, tiny.config.vocab_size, (16, 20))
    mask = np.arange(20) < rng.integers(1, 21, (16, 1))
    plain.forward(ids, mask.astype(np.int64), None, lambda wire, value: seen.update({wire: value}))
    norms = gains(tiny)
    for i in range(tiny.config.num_hidden_layers):
        bounds = layer_bounds(tiny.config, tiny.tensors, i, norms[i])
        layer = f"layer.{i}."
        offset = registry.attention(tiny.config.attention(i)).offset
        shift = registry.activation(tiny.config.activation(i)).fold.shift
        most = {
            "scores": (np.abs(seen[layer + "scores"] + offset).max(), bounds.scores),
            "values": (np.abs(seen[layer + "v"]).max(), bounds.values),
            "inner": (np.abs(seen[layer + "inner"] + shift).max(), bounds.inner),
            "attention row": (
                np.linalg.norm(seen[layer + "attention_norm_input"], axis=-1).max(),
                bounds.attention_row,
            ),
            "feedforward row": (
                np.linalg.norm(seen[layer + "feedforward_norm_input"], axis=-1).max(),
                bounds.feedforward_row,
            ),
        }
        for wire, (value, bound) in most.items():
            assert value <= bound, f"layer {i}'s {wire} reaches {value}, bounded by {bound}"
            assert bound < 2.0**30, f"layer {i}'s {wire} has no useful bound: {bound}"


def test_values_stay_bounded_for_the_worst_rows(made: dict[str, Tiny]) -> None:
    """Rows along a column of the weights, where a product is largest."""
    tiny = made["mean pooling"]
    before = gains(tiny)[0]
    bound = layer_bounds(tiny.config, tiny.tensors, 0, before).values
    value = Affine.read(tiny.tensors, names.layer(0, names.VALUE))
    reached = 0.0
    for direction in (value.weight * before.gain[:, None]).T:
        row = direction / np.linalg.norm(direction) * np.sqrt(tiny.config.hidden_size)
        for ahead in (row, -row):
            normed = before.gain * ahead + before.bias
            reached = max(reached, np.abs(normed @ value.weight + value.bias).max())
    assert reached <= bound, f"a value reaches {reached}, bounded by {bound}"
    assert reached > 0.9 * bound, f"the bound {bound} is loose: {reached} is the most"


@pytest.fixture
def lifted(monkeypatch: pytest.MonkeyPatch) -> dict[Role, list[tuple[int, np.ndarray]]]:
    """What each party has of every value that a run lifts, with the bits that it has then."""
    found: dict[Role, list[tuple[int, np.ndarray]]] = {CLIENT: [], SERVER: []}

    def watched(me, x, bits=None):
        if bits is not None and bits > x.bits and isinstance(x.share, np.ndarray):
            found[me.role].append((x.bits, x.share))
        return (yield from open_value(me, x, bits))

    for name, module in list(sys.modules.items()):
        if name.startswith("veilform.") and getattr(module, "open_value", None) is open_value:
            monkeypatch.setattr(module, "open_value", watched)
    return found


@pytest.mark.parametrize("name", MODELS)
def test_every_lifted_value_has_the_ring_that_it_needs(
    made: dict[str, Tiny], name: str, lifted: dict[Role, list[tuple[int, np.ndarray]]]
) -> None:
    """Above a quarter of its ring, a lift would go wrong now and then, and no flag would tell."""
    out = made[name].run(TEXTS, 32)
    layers = made[name].config.num_hidden_layers
    assert out.flag == 0
    assert len(lifted[CLIENT]) == len(lifted[SERVER]) >= 7 * layers, "a lift was not seen"
    for number, ((bits, ours), (_, theirs)) in enumerate(
        zip(lifted[CLIENT], lifted[SERVER], strict=True)
    ):
        largest = int(np.abs(signed(ours + theirs, bits)).max())
        assert largest <= 2 ** (bits - 2), f"lift {number}, of {bits} bits, is of {largest}"


def test_a_calibration_beyond_the_weights_is_refused(made: dict[str, Tiny]) -> None:
    tiny = made["mean pooling"]
    for wire in WIRES:
        far = RowRange(Range(1e6, 2e6))
        layers = [msgspec.structs.replace(tiny.calibration.layers[0], **{wire: far})]
        layers += tiny.calibration.layers[1:]
        calibration = msgspec.structs.replace(tiny.calibration, layers=tuple(layers))
        with pytest.raises(ModelError, match="layer 0"):
            Tiny.load(tiny.folder, calibration=calibration).scales(24)


def test_a_range_that_ends_at_its_bound(made: dict[str, Tiny]) -> None:
    """Widened by the margin it would end beyond; it is cut there."""
    tiny = made["mean pooling"]
    bounds = layer_bounds(tiny.config, tiny.tensors, 0, gains(tiny)[0])
    most = bounds.attention_row**2 / tiny.config.hidden_size
    layer = tiny.calibration.layers[0]
    wide = RowRange(Range(layer.attention_variance.whole.low, most))
    layers = (msgspec.structs.replace(layer, attention_variance=wide), *tiny.calibration.layers[1:])
    calibration = msgspec.structs.replace(tiny.calibration, layers=layers)
    out = Tiny.load(tiny.folder, calibration=calibration).run(TEXTS[:1], 24)
    assert (out.flag, out.error < CLOSE) == (0, True), f"off by {out.error}, flag {out.flag}"
