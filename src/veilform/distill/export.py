"""The shipped student folder: int8 word embedding, float16 tensors, tokenizer, card and figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import BertConfig

from .data import MAX_TOKENS, Example
from .quant import dequantise_rows, quantise_rows
from .student import BertMeanPoolForSequenceClassification

WORDS = "bert.embeddings.word_embeddings.weight"
SCALE = "bert.embeddings.word_embeddings.weight_scale"
FORMAT = {"format": "pt"}


def stored_tensors(model: BertMeanPoolForSequenceClassification) -> dict[str, torch.Tensor]:
    """Tensors in their stored types: int8 and float16 for the words, float16 for the rest."""
    tensors = {k: v.detach().half().contiguous() for k, v in model.state_dict().items()}
    tensors[WORDS], tensors[SCALE] = quantise_rows(model.state_dict()[WORDS])
    return tensors


def save_student(model: BertMeanPoolForSequenceClassification, folder: Path) -> None:
    """Write ``config.json`` and ``model.safetensors``."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(stored_tensors(model), folder / "model.safetensors", metadata=FORMAT)
    config = model.config.to_dict()
    for name in ("_name_or_path", "transformers_version", "dtype", "gradient_checkpointing"):
        config.pop(name, None)
    text = json.dumps(config, indent=2, sort_keys=True)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")


def load_student(folder: Path) -> BertMeanPoolForSequenceClassification:
    """float32 model in eval mode with exactly the stored values."""
    config = BertConfig.from_json_file(str(folder / "config.json"))
    model = BertMeanPoolForSequenceClassification(config)
    tensors = load_file(folder / "model.safetensors")
    words = dequantise_rows(tensors.pop(WORDS), tensors.pop(SCALE))
    model.load_state_dict({WORDS: words, **{k: v.float() for k, v in tensors.items()}})
    return model.eval()


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write ``tokenizer.json``: truncation to ``MAX_TOKENS``, no fixed padding."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    settings = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": True,
        "model_max_length": MAX_TOKENS,
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "mask_token": "[MASK]",
    }
    text = json.dumps(settings, indent=2)
    (folder / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")


def save_examples(examples: Sequence[Example], folder: Path, count: int = 500) -> None:
    """Write ``heldout.jsonl`` with the first ``count`` held-out sentences (hash order)."""
    lines = [json.dumps({"text": e.text, "label": e.label}) for e in examples[:count]]
    (folder / "heldout.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def save_figures(figures: dict, folder: Path) -> None:
    """Write ``training.json``."""
    text = json.dumps(figures, indent=1)
    (folder / "training.json").write_text(text + "\n", encoding="utf-8")
