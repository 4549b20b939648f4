"""Every family is one model: its names, positions, types, tokens and heads."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.checkpoints import TEXTS, make_tiny
from tests.families import CLASSES, HEADS, PAIRS, make_family, tiny_bpe
from tests.models.secure import Tiny

from veilform.approx import registry
from veilform.errors import ModelError
from veilform.models.bert import names
from veilform.models.bert.config import BertConfig
from veilform.models.bert.embedding import embedding_sum
from veilform.models.bert.plain import PlainBert
from veilform.models.bert.public import PublicPart, export_public
from veilform.models.bert.stored import StoredTensors
from veilform.models.bert.validate import check, examine
from veilform.models.text import TextEncoder

CLOSE = 0.02
SERVED = [(family, head) for family in CLASSES for head in HEADS]


@pytest.mark.parametrize(("family", "head"), SERVED)
def test_each_family_can_be_served(tmp_path: Path, family: str, head: str) -> None:
    config = check(make_family(tmp_path, family, head))
    assert config.model_type == family
    assert config.max_position_embeddings == 64
    assert config.type_vocab_size == (2 if family == "bert" else 1)
    assert config.outputs == (16 if head == "Model" else 2)
    assert config.first_position == (2 if "roberta" in family else 0)


@pytest.mark.parametrize("family", CLASSES)
@pytest.mark.parametrize("head", HEADS)
def test_families_differ_in_names_only(tmp_path: Path, family: str, head: str) -> None:
    """The same weights give the same logits under every family's names."""
    models = [
        PlainBert.load(make_family(tmp_path / name, name, head), np.float64)
        for name in ("bert", family)
    ]
    ids = np.random.default_rng(1).integers(5, 40, (3, 16))
    mask = (np.arange(16) < [[16], [9], [3]]).astype(np.int64)
    for model in models:
        # Tables of types, and the head's activation, are the true differences.
        model.params[names.TYPES][...] = 0  # type: ignore[index]
    if family == "distilbert" and head == HEADS[0]:
        pooled = [model.pool(model.encode(ids, mask), mask) for model in models]
        assert (pooled[1] >= 0).all()
        assert (pooled[0] < 0).any()
        return
    first, second = (model.forward(ids, mask) for model in models)
    np.testing.assert_allclose(first, second, atol=1e-12)


@pytest.mark.parametrize(("family", "head"), SERVED)
def test_secure_equals_plain(tmp_path: Path, family: str, head: str) -> None:
    tiny = Tiny.load(make_family(tmp_path, family, head, calibrated=True))
    for texts in (TEXTS[:2], PAIRS[:2]):
        out = tiny.run(texts, 64)
        assert out.logits.shape == (2, tiny.config.outputs)
        assert out.flag == 0, "a text of the calibration raises the flag"
        assert out.error < CLOSE, f"off by {out.error}"
        assert out.trace.messages == 16 * tiny.config.num_hidden_layers + 4


@pytest.mark.parametrize("family", CLASSES)
def test_private_embedding_with_pairs(tmp_path: Path, family: str) -> None:
    """Token types are looked up with the words: they would tell the first text's length."""
    folder = make_family(tmp_path, family, HEADS[1], calibrated=True)
    out = Tiny.load(folder, private=True).run(PAIRS[:2], 64)
    assert out.flag == 0
    assert out.error < CLOSE, f"off by {out.error}"


@pytest.mark.parametrize("labels", [1, 3, 5])
def test_any_number_of_labels(tmp_path: Path, labels: int) -> None:
    names_of = {str(i): f"L{i}" for i in range(labels)}
    folder = make_family(tmp_path, "roberta", calibrated=True, id2label=names_of)
    out = Tiny.load(folder).run(PAIRS[:1], 64)
    assert out.logits.shape == (1, labels)
    assert out.error < CLOSE


# --- Names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", CLASSES)
def test_problems_are_told_in_the_family_s_own_names(tmp_path: Path, family: str) -> None:
    folder = make_family(tmp_path, family)
    stored = load_file(folder / "model.safetensors")
    name = sorted(n for n in stored if ".layer.1." in n)[0]
    del stored[name]
    from safetensors.numpy import save_file

    save_file({**stored, "stray.weight": np.ones(3, np.float32)}, folder / "model.safetensors")
    found = "\n".join(examine(folder))
    assert f"missing tensor {name} of shape" in found
    assert "tensor stray.weight has no place" in found
    with pytest.raises(ModelError, match=name.replace(".", r"\.")):
        PlainBert.load(folder)


def test_config_keys_are_told_in_the_family_s_own_names(tmp_path: Path) -> None:
    folder = make_family(tmp_path, "distilbert")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "dim": None, "n_heads": "2"}))
    found = examine(folder)
    assert "dim is None; expected a whole number above zero" in found
    assert "n_heads is '2'; expected a whole number above zero" in found
    (folder / "config.json").write_text(json.dumps({**config, "activation": "gelu_new"}))
    assert any("activation 'gelu_new' has no secure protocol" in line for line in examine(folder))


def test_a_head_whose_activation_has_no_protocol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = dataclasses.replace(registry.ENTRIES["relu"], secure=None)
    monkeypatch.setattr(registry, "ENTRIES", {**registry.ENTRIES, "relu": entry})
    (only,) = examine(make_family(tmp_path, "distilbert"))
    assert "DistilBertForSequenceClassification has 'relu' in its head" in only
    assert "DistilBertMeanPoolForSequenceClassification" in only


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"max_position_embeddings": 2}, "max_position_embeddings is 2; expected a whole number"),
        ({"pad_token_id": -1}, "pad_token_id is -1"),
        ({"architectures": ["RobertaForMaskedLM"]}, "supported: RobertaForSequenceClassification"),
        ({"architectures": ["BertModel"]}, "architecture 'BertModel' is not supported"),
        ({"max_position_embeddings": 65}, r"has shape (66, 16), expected (65, 16)"),
        ({"type_vocab_size": 2}, "token_type_embeddings.weight has shape (1, 16)"),
    ],
)
def test_roberta_s_own_reasons(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    folder = make_family(tmp_path, "roberta")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, **changed}))
    assert message in "\n".join(examine(folder))


def test_a_folder_that_pools_otherwise_is_refused(tmp_path: Path) -> None:
    """What sentence-transformers writes beside a model."""
    folder = make_family(tmp_path, "bert", "Model")
    (folder / "1_Pooling").mkdir()
    for mode, fits in (("mean_tokens", True), ("cls_token", False)):
        modes = {f"pooling_mode_{m}": m == mode for m in ("cls_token", "mean_tokens")}
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(modes))
        assert examine(folder) == [] if fits else "pooling_mode_cls_token" in examine(folder)[0]
    (folder / "1_Pooling" / "config.json").write_text("no")
    assert "is not a JSON object" in examine(folder)[0]


# --- Embedding -----------------------------------------------------------------------------------


def test_roberta_s_first_positions_are_never_used(tmp_path: Path) -> None:
    part = PublicPart.load(make_family(tmp_path, "roberta"))
    assert part.tables[names.POSITIONS].shape == (64, 16)
    assert np.abs(part.tables[names.POSITIONS]).max() < 10, "a row before the first position"


@pytest.mark.parametrize("family", CLASSES)
@pytest.mark.parametrize("head", HEADS)
def test_the_client_s_folder_has_the_same_tables(tmp_path: Path, family: str, head: str) -> None:
    folder = make_family(tmp_path / "full", family, head)
    export_public(folder, tmp_path / "client")
    assert "layer" not in " ".join(load_file(tmp_path / "client" / "embeddings.safetensors"))
    full, client = PublicPart.load(folder), PublicPart.load(tmp_path / "client")
    assert full.tables.keys() == client.tables.keys()
    for name, table in full.tables.items():
        np.testing.assert_array_equal(table, client.tables[name])
    batch = client.encoder.pad(client.encoder.encode(PAIRS))
    np.testing.assert_array_equal(
        full.embed(batch.ids, batch.types), client.embed(batch.ids, batch.types)
    )


def test_distilbert_s_types_are_zeros(tmp_path: Path) -> None:
    folder = make_family(tmp_path, "distilbert")
    config = BertConfig.read(folder)
    stored = StoredTensors.open(folder, config, names.expected_shapes(config))
    assert len(stored) == len(list(stored)) == len(names.expected_shapes(config))
    ids = np.array([[3, 4, 5]])
    rows = embedding_sum(stored, ids, np.zeros_like(ids))
    expected = stored[names.WORDS][ids] + stored[names.POSITIONS][:3]
    np.testing.assert_array_equal(rows, expected)


# --- Tokens --------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_tokens_of_texts_and_pairs_are_the_tokenizer_s(tmp_path: Path, family: str) -> None:
    """Those of the stored post-processor, which this does not read."""
    from tokenizers import Tokenizer, processors

    folder = make_family(tmp_path, family)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    if family == "bert":
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    encoder = TextEncoder.from_folder(folder)
    for text in [*TEXTS, "Très déjà vu\t!"]:
        assert list(encoder.encode([text])[0].ids) == tokenizer.encode(text).ids
    for first, second in PAIRS:
        (ours,), theirs = encoder.encode([(first, second)]), tokenizer.encode(first, second)
        assert list(ours.ids) == theirs.ids
        assert list(ours.types) == theirs.type_ids if family == "bert" else not any(ours.types)


def test_a_bert_may_have_roberta_s_tokenizer() -> None:
    encoder = TextEncoder(tiny_bpe(), 64, types=2)
    batch = encoder.pad(encoder.encode([*PAIRS, TEXTS[0]]))
    assert not batch.types.any()
    assert (batch.ids[batch.mask == 0] == 1).all(), "padding is not <pad>"


def test_types_that_the_model_does_not_have_are_not_used(tmp_path: Path) -> None:
    one = TextEncoder.from_folder(make_tiny(tmp_path, type_vocab_size=1))
    two = TextEncoder.from_folder(make_tiny(tmp_path / "two"))
    assert not any(one.encode([PAIRS[0]])[0].types)
    assert any(two.up_to(32).encode([PAIRS[0]])[0].types)
