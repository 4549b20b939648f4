"""Tiny random checkpoints of each family, in the layout that Hugging Face gives them.

They are made from BERT's by renaming here, apart from the renaming that is tested. That these are
Hugging Face's names is seen where torch is installed: its own code loads them, and none is left.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from tests.checkpoints import TEXTS, tiny_config, tiny_tensors, tiny_tokenizer, write_checkpoint
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from veilform.models.bert.calibrate import calibrate
from veilform.models.text import Pair

PAIRS: tuple[Pair, ...] = (
    ("a good film", "great!"),
    ("the film was not good", "it was dull"),
    ("it was very very bad", "dull and badly lit"),
)
CLASSES = {
    "bert": "Bert",
    "roberta": "Roberta",
    "xlm-roberta": "XLMRoberta",
    "distilbert": "DistilBert",
}
HEADS = ("ForSequenceClassification", "MeanPoolForSequenceClassification", "Model")
_DISTIL_KEYS = {
    "hidden_size": "dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim",
    "hidden_act": "activation",
}
_DISTIL = (
    (r"encoder\.layer", "transformer.layer"),
    (r"attention\.self\.(query|key|value)", lambda found: f"attention.{found[1][0]}_lin"),
    (r"attention\.output\.dense", "attention.out_lin"),
    (r"attention\.output\.LayerNorm", "sa_layer_norm"),
    (r"intermediate\.dense", "ffn.lin1"),
    (r"(\d)\.output\.dense", r"\1.ffn.lin2"),
    (r"output\.LayerNorm", "output_layer_norm"),
    (r"^bert\.pooler\.dense", "pre_classifier"),
    (r"^bert\.", "distilbert."),
)
_ROBERTA = (
    (r"^classifier\.", "classifier.out_proj."),
    (r"^bert\.pooler\.dense", "classifier.dense"),
    (r"^bert\.", "roberta."),
)


def tiny_bpe() -> Tokenizer:
    """A real byte-level BPE tokenizer with RoBERTa's special tokens, of 72 tokens at most."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=72, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([*TEXTS, *(text for pair in PAIRS for text in pair)], trainer)
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), add_prefix_space=False
    )
    return tokenizer


def make_family(
    folder: Path,
    model_type: str,
    head: str = HEADS[0],
    *,
    seed: int = 0,
    calibrated: bool = False,
    **overrides: Any,
) -> Path:
    """Write a tiny checkpoint of a family; ``overrides`` replace keys of BERT's config."""
    settings: dict[str, Any] = {"pooling": None, **overrides}
    bert = tiny_config(architectures=["Bert" + HEADS[0]], **settings)
    tensors: dict[str, Any] = dict(tiny_tensors(bert, seed))
    if head == "Model":
        tensors = {n.removeprefix("bert."): v for n, v in tensors.items() if "classifier" not in n}
    elif head.startswith("Mean"):
        tensors = {n: v for n, v in tensors.items() if "pooler" not in n}
    config = {**bert, "architectures": [CLASSES[model_type] + head], "model_type": model_type}
    tokenizer = tiny_tokenizer()
    if model_type == "distilbert":
        tensors = {
            _rename(n, _DISTIL): v
            for n, v in tensors.items()
            if "token_type" not in n and not (head == "Model" and "pooler" in n)
        }
        left_out = ("type_vocab_size", "layer_norm_eps")
        config = {_DISTIL_KEYS.get(k, k): v for k, v in config.items() if k not in left_out}
    elif "roberta" in model_type:
        tokenizer = tiny_bpe()
        # Two more positions, which no token ever takes, and one type.
        for name in list(tensors):
            if "position_embeddings" in name:
                junk = np.full((2, bert["hidden_size"]), 1e3, np.float32)
                tensors[name] = np.concatenate([junk, tensors[name]])
            if "token_type" in name:
                tensors[name] = tensors[name][:1]
        tensors = {_rename(n, _ROBERTA): v for n, v in tensors.items()}
        positions = bert["max_position_embeddings"] + 2
        config |= {"max_position_embeddings": positions, "type_vocab_size": 1, "pad_token_id": 1}
    write_checkpoint(folder, config, tensors, tokenizer)
    if calibrated:
        calibrate(folder, [*TEXTS, *PAIRS]).save(folder)
    return folder


def _rename(name: str, rules: Any) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
