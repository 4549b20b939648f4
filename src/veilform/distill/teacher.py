"""The teacher: a classifier as it is, or a checkpoint that first gets a head for the task."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedModel

from veilform.distill.examples import Splits, Task, renumber
from veilform.distill.student import classifier_class, install
from veilform.errors import ModelError

DEFAULT_LABEL = "LABEL_"


def load_tokenizer(folder: Path) -> Tokenizer:
    """The fast tokenizer of a folder, from ``tokenizer.json`` or its older files.

    Raises:
        ModelError: there is none.
    """
    path = folder / "tokenizer.json"
    if path.is_file():
        return Tokenizer.from_file(str(path))
    try:
        return AutoTokenizer.from_pretrained(folder).backend_tokenizer
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{folder} has no fast tokenizer (tokenizer.json): {error}") from None


def read_config(folder: Path) -> PretrainedConfig:
    """The config of a folder in Hugging Face's format.

    Raises:
        ModelError: the folder or its config.json is not there, or of an unknown kind.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} has no config.json: give a folder in Hugging Face's format")
    try:
        return AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}/config.json cannot be used: {error}") from None


def has_head(config: PretrainedConfig) -> bool:
    """Whether the checkpoint is a classifier already."""
    names = config.architectures or []
    return any(name.endswith("ForSequenceClassification") for name in names)


def align(splits: Splits, config: PretrainedConfig) -> Splits | None:
    """The splits with classes numbered as the teacher's; None: its head is for something else."""
    if not has_head(config):
        return None
    names = [config.id2label[i] for i in range(config.num_labels)]
    return renumber(splits, names if len(names) > 1 else None)


def with_new_head(
    folder: Path, task: Task, seed: int, pooling: str | None = None
) -> PreTrainedModel:
    """The folder's encoder with an untrained head for ``task``, in eval mode.

    ``pooling`` "mean" averages the last layer (BERT-type encoders); by default that is done for
    the folders of sentence encoders, which say so in ``1_Pooling``.
    """
    config = read_config(folder)
    if pooling is None and _averages(folder):
        pooling = "mean"
    if pooling == "mean":
        config.pooling = "mean"
    elif hasattr(config, "pooling"):
        del config.pooling
    names = task.labels or (f"{DEFAULT_LABEL}0",)
    config.id2label = dict(enumerate(names))
    config.label2id = {name: i for i, name in enumerate(names)}
    config.problem_type = None if task.labels else "regression"
    config.softmax_act = getattr(config, "softmax_act", "softmax")
    torch.manual_seed(seed)
    model = classifier_class(config).from_pretrained(
        folder, config=config, dtype=torch.float32, ignore_mismatched_sizes=True
    )
    return install(model).eval()


def _averages(folder: Path) -> bool:
    path = folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return False
    return bool(json.loads(path.read_text(encoding="utf-8")).get("pooling_mode_mean_tokens"))
