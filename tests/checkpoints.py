"""Tiny random BERT checkpoints in the Hugging Face layout, for tests.

``make_tiny(folder)`` writes config.json, model.safetensors and tokenizer.json. The weights are
drawn so that Quad and 2Quad stay well inside their ranges: scores stay within about one of zero,
so ``(s + 5)^2`` stays near 25.
"""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from veilform.models.bert.calibrate import calibrate

WORDS = ("the", "film", "was", "not", "good", "bad", "very", "a", "it", "great", "dull", "##ly")
TEXTS = (
    "a good film",
    "the film was not good",
    "it was very very bad, dull and badly lit",
    "great!",
    "the plot was greatly dull. it was not a great film, not good",
)


def tiny_tokenizer() -> Tokenizer:
    """A real WordPiece tokenizer: five special tokens, letters, some words and punctuation."""
    letters = string.ascii_lowercase
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *".,!?"]
    tokens += [letter for letter in letters if letter not in WORDS]
    tokens += ["##" + letter for letter in letters]
    vocab = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(tokens[:5])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def tiny_config(**overrides: Any) -> dict[str, Any]:
    """The config.json of a tiny student; ``overrides`` replace keys, None removes one."""
    config: dict[str, Any] = {
        "architectures": ["BertMeanPoolForSequenceClassification"],
        "model_type": "bert",
        "vocab_size": tiny_tokenizer().get_vocab_size(),
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 64,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "hidden_act": "quad",
        "softmax_act": "2quad",
        "pooling": "mean",
        "position_embedding_type": "absolute",
        "id2label": {"0": "NEGATIVE", "1": "POSITIVE"},
    }
    config.update(overrides)
    return {key: value for key, value in config.items() if value is not None}


def tiny_tensors(config: dict[str, Any], seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Random float32 tensors under Hugging Face's names for ``config``."""
    rng = np.random.default_rng(seed)
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    tensors: dict[str, NDArray[np.float32]] = {}

    def normal(name: str, *shape: int, scale: float) -> None:
        tensors[name] = rng.normal(0.0, scale, shape).astype(np.float32)

    def norm(name: str) -> None:
        tensors[name + ".weight"] = rng.uniform(0.8, 1.2, hidden).astype(np.float32)
        normal(name + ".bias", hidden, scale=0.1)

    def dense(name: str, rows: int, columns: int, scale: float = 0.5) -> None:
        normal(name + ".weight", rows, columns, scale=scale / np.sqrt(columns))
        normal(name + ".bias", rows, scale=0.1)

    embeddings = "bert.embeddings."
    normal(embeddings + "word_embeddings.weight", config["vocab_size"], hidden, scale=0.5)
    positions = config["max_position_embeddings"]
    normal(embeddings + "position_embeddings.weight", positions, hidden, scale=0.2)
    types = config["type_vocab_size"]
    normal(embeddings + "token_type_embeddings.weight", types, hidden, scale=0.2)
    norm(embeddings + "LayerNorm")
    for i in range(config["num_hidden_layers"]):
        layer = f"bert.encoder.layer.{i}."
        for part in ("query", "key", "value"):
            dense(layer + f"attention.self.{part}", hidden, hidden, scale=0.7)
        dense(layer + "attention.output.dense", hidden, hidden)
        norm(layer + "attention.output.LayerNorm")
        dense(layer + "intermediate.dense", inner, hidden)
        dense(layer + "output.dense", hidden, inner)
        norm(layer + "output.LayerNorm")
    if config["architectures"] == ["BertForSequenceClassification"]:
        dense("bert.pooler.dense", hidden, hidden)
    dense("classifier", len(config.get("id2label", "ab")), hidden, scale=2.0)
    return tensors


def to_int8(tensors: dict[str, NDArray[Any]], *names: str) -> dict[str, NDArray[Any]]:
    """Store ``names`` as int8 with a float16 ``<name>_scale`` of shape (rows, 1)."""
    stored = dict(tensors)
    for name in names:
        scale = np.abs(tensors[name]).max(axis=1, keepdims=True) / 127
        scale = np.maximum(scale, 1e-4).astype(np.float16)
        rounded = np.rint(tensors[name] / scale.astype(np.float32))
        stored[name] = np.clip(rounded, -127, 127).astype(np.int8)
        stored[name + "_scale"] = scale
    return stored


def write_checkpoint(
    folder: Path,
    config: dict[str, Any],
    tensors: dict[str, NDArray[Any]],
    tokenizer: Tokenizer | None = None,
) -> Path:
    """Write the three files of a checkpoint into ``folder`` and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    save_file(
        {k: np.ascontiguousarray(v) for k, v in tensors.items()}, folder / "model.safetensors"
    )
    (tokenizer or tiny_tokenizer()).save(str(folder / "tokenizer.json"))
    return folder


def make_tiny(
    folder: Path,
    *,
    seed: int = 0,
    int8_embeddings: bool = True,
    calibrated: bool = False,
    **overrides: Any,
) -> Path:
    """Write a tiny student to ``folder`` and return it.

    Two layers, hidden 16, two heads, inner 32, 64 positions, Quad + 2Quad, mean pooling, two
    labels. ``overrides`` replace keys of config.json (None removes a key), for example
    ``hidden_size=24, num_attention_heads=3`` or ``hidden_act="gelu"``; the shapes follow. The
    word embeddings are stored as int8 with a scale unless ``int8_embeddings`` is false.
    ``TEXTS`` holds texts that it can read; ``calibrated`` adds a calibration.json made from them.
    """
    config = tiny_config(**overrides)
    tensors: dict[str, NDArray[Any]] = dict(tiny_tensors(config, seed))
    if int8_embeddings:
        tensors = to_int8(tensors, "bert.embeddings.word_embeddings.weight")
    write_checkpoint(folder, config, tensors)
    if calibrated:
        calibrate(folder, TEXTS).save(folder)
    return folder
