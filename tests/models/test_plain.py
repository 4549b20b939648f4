from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.checkpoints import make_tiny, tiny_config, tiny_tensors
from tests.models.formula import IDS, MASK, TYPES, VARIANTS, make_formula

from veilform.errors import InputError, ModelError
from veilform.models.bert.config import BertConfig
from veilform.models.bert.plain import PlainBert

REFERENCE = json.loads(Path(__file__).with_name("reference.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 1e-5)])
def test_numbers_stored_from_hugging_face(
    tmp_path: Path, variant: str, dtype: type[np.floating], tolerance: float
) -> None:
    """The numbers' source is written in reference.json: Hugging Face's BERT in float64."""
    model = PlainBert.load(make_formula(tmp_path, variant), dtype)
    stored = REFERENCE[variant]
    hidden = model.encode(IDS, MASK, TYPES)
    logits = model.forward(IDS, MASK, TYPES)
    assert logits.dtype == dtype
    np.testing.assert_allclose(logits, stored["logits"], atol=tolerance)
    np.testing.assert_allclose(hidden[:, [0, -1], :4], stored["hidden_ends"], atol=tolerance)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_padding_changes_no_logits(data: st.DataObject) -> None:
    length = data.draw(st.integers(1, 12))
    ids = np.array([data.draw(st.lists(st.integers(0, 71), min_size=length, max_size=length))])
    model = _tiny()
    alone = model.forward(ids, np.ones_like(ids))
    extra = data.draw(st.integers(1, 8))
    filler = data.draw(st.lists(st.integers(0, 71), min_size=extra, max_size=extra))
    padded = np.concatenate([ids, [filler]], axis=1)
    mask = (np.arange(length + extra)[None] < length).astype(np.int64)
    np.testing.assert_allclose(model.forward(padded, mask), alone, atol=1e-12)


def test_a_batch_is_its_rows() -> None:
    model = _tiny()
    whole = model.forward(IDS, MASK, TYPES)
    for i in range(len(IDS)):
        row = model.forward(IDS[i : i + 1], MASK[i : i + 1], TYPES[i : i + 1])
        np.testing.assert_allclose(row[0], whole[i], atol=1e-12)


def test_observe_sees_every_wire_and_changes_nothing() -> None:
    model = _tiny()
    seen: dict[str, np.ndarray] = {}
    observed = model.forward(IDS, MASK, TYPES, seen.__setitem__)
    assert (observed == model.forward(IDS, MASK, TYPES)).all()
    parts = {name.split(".")[-1] for name in seen if name.startswith("layer.1.")}
    assert parts == {
        "q", "k", "v", "scores", "weights", "context", "attention_output",
        "attention_norm_input", "attention_norm", "inner", "activation", "feedforward_output",
        "feedforward_norm_input", "feedforward_norm",
    }  # fmt: skip
    assert seen["layer.0.scores"].shape == (3, 2, 8, 8)
    assert seen["layer.0.inner"].shape == (3, 8, 32)
    assert seen["pooled"].shape == (3, 16)
    assert seen["logits"] is observed


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.array([[72]]), "token id"),
        (np.array([[-1]]), "token id"),
        (np.zeros((1, 65), np.int64), "65 positions"),
        (np.zeros(3, np.int64), "must both be"),
    ],
)
def test_bad_ids(ids: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        _tiny().forward(ids, np.ones_like(ids))


def test_unknown_function_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"no activation is called 'swish'; known: .*gelu, poly-gelu, quad"
    ):
        PlainBert.load(make_tiny(tmp_path, hidden_act="swish"))


def test_heads_must_divide(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="multiple of num_attention_heads"):
        PlainBert.load(make_tiny(tmp_path, num_attention_heads=3))


def _tiny() -> PlainBert:
    config = tiny_config()
    params = {name: value.astype(np.float64) for name, value in tiny_tensors(config).items()}
    return PlainBert(BertConfig.parse(config), params)
