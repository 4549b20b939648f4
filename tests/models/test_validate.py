from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.checkpoints import (
    make_tiny,
    tiny_config,
    tiny_tensors,
    tiny_tokenizer,
    write_checkpoint,
)

from veilform.errors import ModelError
from veilform.models.bert import names
from veilform.models.bert.config import BertConfig
from veilform.models.bert.validate import check, examine, problems
from veilform.models.text import TextEncoder

ENCODER = TextEncoder(tiny_tokenizer(), 64)


def found(**overrides: Any) -> str:
    config = BertConfig.parse(tiny_config(**overrides))
    return "\n".join(problems(config, names.expected_shapes(config), ENCODER))


def test_a_good_student_has_no_problems(tmp_path: Path) -> None:
    assert found() == ""
    config = check(make_tiny(tmp_path))
    assert config.labels == ("NEGATIVE", "POSITIVE")
    assert config.head_size == 8
    cls = {"architectures": ["BertForSequenceClassification"], "pooling": None}
    assert check(make_tiny(tmp_path / "cls", **cls)).pooling == "cls"


def test_what_a_config_leaves_out() -> None:
    left_out = ("softmax_act", "pooling", "id2label", "position_embedding_type", "layer_norm_eps")
    config = BertConfig.parse(tiny_config(**dict.fromkeys(left_out)))
    assert config.softmax_act == "softmax"
    assert config.pooling == "mean"
    assert config.labels == ("LABEL_0", "LABEL_1")
    assert config.layer_norm_eps == 1e-12
    assert BertConfig.parse(tiny_config(id2label=None, num_labels=3)).labels[2] == "LABEL_2"


def test_every_bad_field_is_listed() -> None:
    bad = {
        "architectures": ["A", "B"],
        "vocab_size": True,
        "hidden_size": 0,
        "num_hidden_layers": "2",
        "num_attention_heads": None,
        "intermediate_size": 2.0,
        "layer_norm_eps": "small",
        "hidden_act": ["quad"],
        "is_decoder": 1,
        "id2label": {"0": "a", "2": "b"},
    }
    with pytest.raises(ModelError) as caught:
        BertConfig.parse(tiny_config(**bad))
    for key in bad:
        assert f"\n{key} is" in str(caught.value)
    assert "num_attention_heads is missing" in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(tiny_config())), json_values))
def test_any_config_is_parsed_or_refused(overrides: dict[str, Any]) -> None:
    config, reasons = BertConfig.examine({**tiny_config(), **overrides})
    assert (config is None) == bool(reasons)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"architectures": ["BertForMaskedLM"]}, "architecture 'BertForMaskedLM' is not supported"),
        (
            {"model_type": "mpnet"},
            "model_type 'mpnet' is not supported; supported: 'bert', 'roberta'",
        ),
        ({"pooling": "cls"}, "pools by 'mean', but pooling is 'cls'"),
        ({"pooling": "max"}, "pools by 'mean', but pooling is 'max'"),
        ({"position_embedding_type": "relative_key"}, "'relative_key' is not 'absolute'"),
        ({"is_decoder": True}, "is_decoder"),
        ({"add_cross_attention": True}, "cross-attention is not supported"),
        (
            {"hidden_act": "gelu_new"},
            "hidden_act 'gelu_new' has no secure protocol; distil the model to 'quad' first "
            "(docs/distillation.md)",
        ),
        ({"hidden_act": "2quad"}, "hidden_act '2quad' has no secure protocol"),
        (
            {"softmax_act": "sparsemax"},
            "softmax_act 'sparsemax' has no secure protocol; distil the model to '2quad'",
        ),
        ({"softmax_act": "what"}, "softmax_act 'what' has no secure protocol"),
        ({"num_attention_heads": 3}, "not a multiple"),
        ({"hidden_size": 4096}, "hidden_size 4096 is over the limit of 2048"),
        ({"num_hidden_layers": 1 << 30}, "num_hidden_layers 1073741824 is over the limit"),
        ({"max_position_embeddings": 8}, "under the smallest length bucket, 16"),
        ({"layer_norm_eps": 1.0}, "layer_norm_eps 1.0 is not between"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps nan is not between"),
        ({"vocab_size": 60}, "the tokenizer has 72 tokens, the model's table only 60"),
        ({"id2label": {str(i): "x" for i in range(1001)}}, "1001 labels are over the limit"),
    ],
)
def test_each_reason(overrides: dict[str, Any], message: str) -> None:
    if overrides.get("num_hidden_layers"):
        config = BertConfig.parse(tiny_config(**overrides))
        assert message in "\n".join(problems(config, {}, ENCODER))
    else:
        assert message in found(**overrides)


def test_no_tokenizer() -> None:
    config = BertConfig.parse(tiny_config())
    reasons = problems(config, names.expected_shapes(config), None)
    assert reasons == ["there is no tokenizer.json: save the tokenizer into the folder"]


def test_all_reasons_at_once(tmp_path: Path) -> None:
    config = tiny_config(hidden_act="gelu_new", softmax_act="sparsemax", is_decoder=True)
    tensors = dict(tiny_tensors(config))
    del tensors["bert.encoder.layer.1.output.dense.bias"]
    tensors["classifier.weight"] = np.ones((2, 5), np.float32)
    tensors["bert.encoder.layer.0.adapter.weight"] = np.ones(2, np.float32)
    tensors["classifier.bias"] = np.array([np.nan, np.inf], np.float32)
    tensors["bert.encoder.layer.0.output.dense.bias"] = np.zeros(16, np.float64)  # type: ignore
    folder = write_checkpoint(tmp_path, config, tensors)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError) as caught:
        check(folder)
    lines = str(caught.value).splitlines()
    for reason in (
        "has no tokenizer.json",
        "is_decoder",
        "hidden_act 'gelu_new'",
        "softmax_act 'sparsemax'",
        "missing tensor bert.encoder.layer.1.output.dense.bias of shape (16,)",
        "tensor classifier.weight has shape (2, 5), expected (2, 16)",
        "tensor bert.encoder.layer.0.adapter.weight has no place",
        "tensor classifier.bias has 2 values that are not finite",
        "output.dense.bias' has dtype F64",
    ):
        assert sum(reason in line for line in lines) == 1, reason
    assert len(lines) == 10


def test_broken_parts_are_listed_together(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path, hidden_act="gelu_new")
    (folder / "model.safetensors").write_bytes(b"")
    (folder / "tokenizer.json").write_bytes(b"{}")
    text = "\n".join(examine(folder))
    assert "model.safetensors is not sound" in text
    assert "tokenizer.json is not a tokenizer" in text
    assert "hidden_act 'gelu_new'" in text
    (folder / "config.json").write_bytes(b"no")
    assert sum("config.json" in line for line in examine(folder)) == 1
    assert examine(tmp_path / "absent") == [f"there is no folder {str(tmp_path / 'absent')!r}"]


def test_harmless_extra_tensors_are_allowed(tmp_path: Path) -> None:
    tensors: dict[str, Any] = dict(tiny_tensors(tiny_config()))
    tensors["bert.embeddings.position_ids"] = np.arange(64)[None]
    tensors["bert.pooler.dense.bias"] = np.ones(16, np.float32)
    check(write_checkpoint(tmp_path, tiny_config(), tensors))
