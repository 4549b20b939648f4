"""Models of small integers: made, checked, and run in their own rings beside the plain one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from tests.checkpoints import TEXTS, make_tiny, to_int8
from tests.models.secure import Tiny

from veilform.drive.trace import trace
from veilform.errors import InputError, ModelError
from veilform.kernels import PackedMatrix, SmallMatrix
from veilform.models.bert import names
from veilform.models.bert.bounds import Gain, layer_bounds
from veilform.models.bert.calibrate import calibrate
from veilform.models.bert.closer import closer
from veilform.models.bert.compile import ring_arrays, server_weights
from veilform.models.bert.config import SMALL_PARTS, BertConfig
from veilform.models.bert.plain import PlainBert
from veilform.models.bert.quantize import quantize
from veilform.models.bert.rounding import compensated, nearest
from veilform.models.bert.secure import SecureBert
from veilform.models.bert.small import small_scales
from veilform.protocol.opening import open_value
from veilform.ring import signed
from veilform.roles import CLIENT, SERVER, Role

CLOSE = 0.1
"""Rows of nine fraction bits instead of twelve."""
EVERY = [("*", 8)]
MODELS: dict[str, tuple[dict[str, Any], list[tuple[str, int]], bool]] = {
    "8 bits": ({}, EVERY, False),
    "4 bits": ({}, [("*", 4)], False),
    "8 bits, private embedding": ({}, EVERY, True),
    "a mix": ({}, [("layer.1.*", 0), ("*.inner", 4), ("*", 8)], False),
    "one matrix": ({}, [("layer.1.outer", 8)], False),
    "8 bits, gelu, softmax": ({"hidden_act": "gelu", "softmax_act": "softmax"}, EVERY, False),
    "8 bits, odd widths": (
        {"hidden_size": 24, "num_attention_heads": 4, "intermediate_size": 20},
        EVERY,
        False,
    ),
    "8 bits, cls": (
        {"architectures": ["BertForSequenceClassification"], "pooling": None},
        EVERY,
        False,
    ),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tiny]:
    found = {}
    for i, (name, (overrides, policy, private)) in enumerate(MODELS.items()):
        folder = tmp_path_factory.mktemp("small")
        make_tiny(folder / "float", seed=i, calibrated=True, **overrides)
        quantize(folder / "float", folder / "small", policy)
        found[name] = Tiny.load(folder / "small", private)
    return found


def small_of(tiny: Tiny) -> dict[str, int]:
    return tiny.config.small(tiny.private)


@pytest.mark.parametrize("name", MODELS)
def test_secure_equals_plain_at_the_declared_cost(made: dict[str, Tiny], name: str) -> None:
    out = made[name].run(TEXTS[:2], 24)
    assert out.flag == 0, "a text of the calibration raises the flag"
    assert out.error < CLOSE, f"logits {out.logits} are off by {out.error}"
    sent = {CLIENT: sum(out.trace.up), SERVER: sum(out.trace.down)}
    for role in (CLIENT, SERVER):
        parts = [part for message in out.ran.sent[role] for part in message]
        assert sum(part.nbytes for part in parts) == sent[role], "the trace is not what is sent"
    assert out.multiply_adds[SERVER] == out.trace.total.server_multiply_adds


@pytest.mark.parametrize("name", MODELS)
def test_the_server_holds_small_matrices(made: dict[str, Tiny], name: str) -> None:
    tiny = made[name]
    arrays = ring_arrays(tiny.config, tiny.tensors, tiny.scales(24), tiny.private)
    weights = server_weights(arrays, small_of(tiny)).weights
    for each, weight in weights.items():
        if each in small_of(tiny):
            assert isinstance(weight, SmallMatrix)
            assert weight.width == 1
        else:
            assert not isinstance(weight, SmallMatrix)
    assert any(isinstance(weight, PackedMatrix) for weight in weights.values()), "the classifier"


def test_a_private_embedding_has_one_matrix_less(made: dict[str, Tiny]) -> None:
    tiny = made["8 bits, private embedding"]
    assert set(dict(tiny.config.small_weights)) - set(small_of(tiny)) == {"layer.0.qkv"}


def test_the_rings_are_narrower(made: dict[str, Tiny], tmp_path: Path) -> None:
    wide = Tiny.load(make_tiny(tmp_path, seed=0, calibrated=True)).scales(24)
    narrow = made["8 bits"].scales(24)
    for a, b in zip(wide.layers, narrow.layers, strict=True):
        assert b.attention.qkv <= a.attention.qkv - 3
        assert b.attention.projected < a.attention.projected
        assert b.feedforward.inner + b.feedforward.entry < a.feedforward.inner + a.feedforward.entry
        assert b.feedforward.output <= a.feedforward.output - 5
        assert b.hidden < a.hidden
    assert narrow.head.ring == wide.head.ring or narrow.head.pool == wide.head.pool


def test_less_is_sent(made: dict[str, Tiny], tmp_path: Path) -> None:
    tiny = Tiny.load(make_tiny(tmp_path, seed=0, calibrated=True))
    totals = [
        trace(SecureBert(each.config, each.scales(24), 1).abstract)
        for each in (tiny, made["8 bits"])
    ]
    for moved in ("up", "down", "dealt_server", "correction"):
        wide, narrow = (getattr(each.total, moved) for each in totals)
        assert narrow < wide, f"{moved}: {narrow} bytes, not below {wide}"


# --- Bounds --------------------------------------------------------------------------------------


def gains(tiny: Tiny) -> list[Gain]:
    before = [Gain.read(tiny.tensors, names.EMBEDDING_NORM)]
    layers = range(tiny.config.num_hidden_layers)
    return before + [Gain.read(tiny.tensors, names.layer(i, names.OUT_NORM)) for i in layers]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("seed", range(3))
def test_no_wire_passes_its_closer_bound(made: dict[str, Tiny], name: str, seed: int) -> None:
    """On random tokens, and on rows of the first layer that are as long as any can be."""
    tiny, rng = made[name], np.random.default_rng(seed)
    plain = PlainBert.load(tiny.folder, np.float64)
    seen: dict[str, np.ndarray] = {}
    ids = rng.integers(0, tiny.config.vocab_size, (16, 20))
    mask = np.arange(20) < rng.integers(1, 21, (16, 1))
    plain.forward(ids, mask.astype(np.int64), None, lambda wire, value: seen.update({wire: value}))
    for i in range(tiny.config.num_hidden_layers):
        before = gains(tiny)[i]
        loose = layer_bounds(tiny.config, tiny.tensors, i, before)
        bounds = closer(tiny.config, tiny.tensors, i, before, loose)
        assert bounds.scores <= loose.scores
        assert bounds.feedforward_row <= loose.feedforward_row
        for wire, element, row in (
            ("attention_norm_input", bounds.attention_centred, bounds.attention_row),
            ("feedforward_norm_input", bounds.feedforward_centred, bounds.feedforward_row),
        ):
            value = seen[f"layer.{i}.{wire}"]
            centred = value - value.mean(-1, keepdims=True)
            assert np.abs(centred).max() <= element, wire
            assert np.linalg.norm(centred, axis=-1).max() <= row, wire


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(0, 12))
def test_the_worst_row_of_a_square_stays_bounded(
    made: dict[str, Tiny], seed: int, steps: int
) -> None:
    """Rows that climb towards the largest element of the feed-forward block's output."""
    tiny, rng = made["8 bits"], np.random.default_rng(seed)
    before = gains(tiny)[0]
    bounds = closer(
        tiny.config, tiny.tensors, 0, before, layer_bounds(tiny.config, tiny.tensors, 0, before)
    )
    at = {part: tiny.tensors[f"{names.layer(0, part)}.weight"].T for part in PARTS}
    bias = {part: tiny.tensors[f"{names.layer(0, part)}.bias"] for part in PARTS}
    middle = Gain.read(tiny.tensors, names.layer(0, names.ATTENTION_NORM))
    root, column = np.sqrt(tiny.config.hidden_size), rng.integers(tiny.config.hidden_size)
    u = rng.standard_normal(tiny.config.hidden_size)
    centred = at[names.OUT][:, column] - at[names.OUT].mean(1)
    for _ in range(steps + 1):
        u = u / np.linalg.norm(u) * root
        inner = (middle.gain * u + middle.bias) @ at[names.INNER] + bias[names.INNER]
        out = ((inner + 2) * inner / 8 + 0.5) @ at[names.OUT] + bias[names.OUT]
        row = out + middle.gain * u + middle.bias
        assert np.abs(row - row.mean()).max() <= bounds.feedforward_centred
        assert np.linalg.norm(row - row.mean()) <= bounds.feedforward_row
        u = (
            middle.gain
            * (at[names.INNER] @ (centred * (inner + 1) / 4))
            * np.sign(row[column] - row.mean())
        )


PARTS = (names.INNER, names.OUT)


Lifted = list[tuple[int, np.ndarray]]


@pytest.fixture
def lifted(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Lifted]:
    """Bits of a ring, and the values in it that were lifted, of all runs up to now."""
    seen: dict[Role, Lifted] = {CLIENT: [], SERVER: []}

    def watched(me, x, bits=None):
        if bits is not None and bits > x.bits and isinstance(x.share, np.ndarray):
            seen[me.role].append((x.bits, x.share))
        return (yield from open_value(me, x, bits))

    for each, module in list(sys.modules.items()):
        if each.startswith("veilform.") and getattr(module, "open_value", None) is open_value:
            monkeypatch.setattr(module, "open_value", watched)
    return lambda: [
        (bits, signed(ours + theirs, bits))
        for (bits, ours), (_, theirs) in zip(seen[CLIENT], seen[SERVER], strict=True)
    ]


@pytest.mark.parametrize("name", MODELS)
def test_every_lifted_value_has_the_ring_that_it_needs(
    made: dict[str, Tiny], name: str, lifted: Callable[[], Lifted]
) -> None:
    assert made[name].run(TEXTS, 32).flag == 0
    assert lifted(), "no lift was seen"
    for bits, values in lifted():
        assert int(np.abs(values).max()) <= 2 ** (bits - 2), f"too large for {bits} bits"


def test_what_rounding_leaves_of_terms_that_cancel_has_its_ring(
    tmp_path: Path, lifted: Callable[[], Lifted]
) -> None:
    """Inner neurons in pairs with opposite outer weights: only rounding is left of them."""
    make_tiny(tmp_path / "float", seed=1, calibrated=True, int8_embeddings=False)
    folder = tmp_path / "small"
    quantize(tmp_path / "float", folder, EVERY)
    tensors = dict(load_file(folder / "model.safetensors"))
    rng = np.random.default_rng(0)
    for i in range(2):
        for part in ("weight", "bias"):
            inner = tensors[f"{names.layer(i, names.INNER)}.{part}"]
            half = len(inner) // 2
            inner[half:] = inner[:half]
        outer = tensors[f"{names.layer(i, names.OUT)}.weight"]
        outer[:, :half] = 32 * np.rint(rng.uniform(-100, 100, outer[:, :half].shape))
        outer[:, half:] = -outer[:, :half]
    save_file(tensors, folder / "model.safetensors")
    (folder / "calibration.json").unlink()
    calibrate(folder, TEXTS * 4).save(folder)
    # Otherwise the variance, out of its range, would raise the flag.
    content = json.loads((folder / "calibration.json").read_text())
    for layer in content["layers"]:
        layer["feedforward_variance"]["valid"]["high"] *= 30
    (folder / "calibration.json").write_text(json.dumps(content))
    tiny = Tiny.load(folder)
    for _ in range(4):
        assert tiny.run(TEXTS[:1], 32).flag == 0
    assert max(int(np.abs(v).max()) / 2 ** (bits - 2) for bits, v in lifted()) <= 1


# --- Rounding ------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    k=st.integers(1, 40), n=st.integers(1, 12), bits=st.sampled_from([4, 8]),
    size=st.floats(-6, 3), seed=st.integers(0, 2**32), texts=st.booleans(),
)  # fmt: skip
def test_what_is_rounded_is_small(
    k: int, n: int, bits: int, size: float, seed: int, texts: bool
) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((k, n)) * 2.0**size
    x = rng.standard_normal((3 * k, k))
    rounded = compensated(weight, bits, x.T @ x) if texts else nearest(weight, bits)
    q = rounded.weight * 2.0**rounded.scales
    assert np.array_equal(q, np.rint(q))
    assert q.min() >= -(2 ** (bits - 1))
    assert q.max() < 2 ** (bits - 1)
    if not texts:
        assert np.abs(rounded.weight - weight).max() <= 2.0 * np.abs(weight).max()


def test_errors_are_made_good_by_later_rows() -> None:
    rng = np.random.default_rng(3)
    weight = rng.standard_normal((96, 20)) * 0.05
    x = rng.standard_normal((400, 96)) @ rng.standard_normal((96, 96))
    off = [np.linalg.norm(x @ (each.weight - weight))
           for each in (nearest(weight, 4), compensated(weight, 4, x.T @ x))]  # fmt: skip
    assert off[1] < 0.8 * off[0]


def test_texts_round_better_and_calibrate(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path / "float", calibrated=True)
    plain = PlainBert.load(folder, np.float64)
    rng = np.random.default_rng(0)
    ids = rng.integers(5, plain.config.vocab_size, (64, 20))
    mask = np.ones_like(ids)
    wanted = plain.forward(ids, mask)
    off = []
    for name, texts in (("without", None), ("with", [t * 2 for t in TEXTS] + list(TEXTS))):
        quantize(folder, tmp_path / name, [("*", 4)], texts)
        small = PlainBert.load(tmp_path / name, np.float64)
        off.append(np.abs(small.forward(ids, mask) - wanted).mean())
    assert json.loads((tmp_path / "with" / "calibration.json").read_text())["texts"] == 10
    assert off[0] < 0.5
    assert off[1] < 0.5


def test_a_gain_of_zero_leaves_its_row(tmp_path: Path) -> None:
    """The row acts by the norm's bias alone, and there is nothing to fold."""
    folder = make_tiny(tmp_path / "float", calibrated=True)
    tensors = load_file(folder / "model.safetensors")
    tensors["bert.encoder.layer.0.output.LayerNorm.weight"][3] = 0
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(ModelError, match="of another model; calibrate again"):
        quantize(folder, tmp_path / "refused", EVERY)
    quantize(folder, tmp_path / "small", EVERY, list(TEXTS))
    after = load_file(tmp_path / "small" / "model.safetensors")
    name = "bert.encoder.layer.1.attention.self.query.weight"
    assert np.array_equal(after[name][:, 3], tensors[name][:, 3])
    assert Tiny.load(tmp_path / "small").run(TEXTS[:1], 24).flag == 0


def test_other_tensors_are_as_they_were(made: dict[str, Tiny], tmp_path: Path) -> None:
    before = load_file(make_tiny(tmp_path, seed=3, calibrated=True) / "model.safetensors")
    after = load_file(made["a mix"].folder / "model.safetensors")
    assert set(before) == set(after)
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert moved
    assert all(name.startswith("bert.encoder.layer.0.") for name in moved)
    assert not any("LayerNorm" in name for name in moved)


def test_a_matrix_that_was_stored_as_int8(tmp_path: Path) -> None:
    """Its scale goes with it: what is written is float32."""
    folder = make_tiny(tmp_path / "float", int8_embeddings=False)
    name = "bert.encoder.layer.0.output.dense.weight"
    save_file(to_int8(load_file(folder / "model.safetensors"), name), folder / "model.safetensors")
    quantize(folder, tmp_path / "small", EVERY)
    after = load_file(tmp_path / "small" / "model.safetensors")
    assert after[name].dtype == np.float32
    assert name + "_scale" not in after


def test_weights_of_zeros(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path / "float", calibrated=True)
    tensors = load_file(folder / "model.safetensors")
    for part in ("attention.self.query", "intermediate.dense"):
        tensors[f"bert.encoder.layer.0.{part}.weight"][:] = 0
    save_file(tensors, folder / "model.safetensors")
    quantize(folder, tmp_path / "small", EVERY, list(TEXTS))
    out = Tiny.load(tmp_path / "small").run(TEXTS[:1], 24)
    assert (out.flag, out.error < CLOSE) == (0, True), f"off by {out.error}, flag {out.flag}"


# --- Bad input -----------------------------------------------------------------------------------


def test_weights_that_are_not_small_are_refused(made: dict[str, Tiny]) -> None:
    tiny = made["8 bits"]
    name = "bert.encoder.layer.1.intermediate.dense.weight"
    with pytest.raises(ModelError, match=r"8 bits for layer\.1\.inner, but its weights are no"):
        small_scales(tiny.config, {**tiny.tensors, name: tiny.tensors[name] * np.float32(1.01)})
    wide = np.array(tiny.tensors["bert.encoder.layer.0.output.dense.weight"])
    wide[2, 0] += 4 * np.abs(wide).max()
    wide[2, 0] = np.rint(wide[2, 0] * 16) / 16
    changed = {**tiny.tensors, "bert.encoder.layer.0.output.dense.weight": wide}
    with pytest.raises(ModelError, match=r"layer\.0\.outer, but column 2 has more"):
        small_scales(tiny.config, changed)


@pytest.mark.parametrize(
    "table",
    [
        [], {"layer.0.qkv": 3}, {"layer.0.qkv": True}, {"layer.2.qkv": 8}, {"layer.00.qkv": 8},
        {"layer.0.query": 8}, {"layer.-1.qkv": 8}, {"classifier": 8}, {"layer.0.qkv": "8"},
        {"layer.999999999999.qkv": 8},
    ],
)  # fmt: skip
def test_bad_tables(table: object, tmp_path: Path) -> None:
    folder = make_tiny(tmp_path)
    raw = json.loads((folder / "config.json").read_text())
    raw["small_weights"] = table
    config, problems = BertConfig.examine(raw)
    assert config is None
    assert "small_weights is" in problems[0]
    assert '"layer.I.PART" to 4 or 8 bits' in problems[0]


def test_what_cannot_be_made(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path / "float", calibrated=True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(InputError, match="holds files already"):
        quantize(folder, tmp_path / "full", EVERY)
    with pytest.raises(InputError, match=r"no matrix is called 'layer\.7\.\*'"):
        quantize(folder, tmp_path / "out", [("layer.7.*", 8)])
    with pytest.raises(InputError, match="4 or 8 bits, not 5"):
        quantize(folder, tmp_path / "out", [("*", 5)])
    with pytest.raises(InputError, match="leaves every matrix as it is"):
        quantize(folder, tmp_path / "out", [("*", 0)])
    with pytest.raises(ModelError, match="there is no folder"):
        quantize(tmp_path / "absent", tmp_path / "out", EVERY)
    assert not (tmp_path / "out").exists()


def test_names_cover_every_matrix(made: dict[str, Tiny]) -> None:
    config = made["8 bits"].config
    assert set(dict(config.small_weights)) == {
        f"layer.{i}.{part}" for i in range(config.num_hidden_layers) for part in SMALL_PARTS
    }
