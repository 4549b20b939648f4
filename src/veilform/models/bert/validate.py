"""Every reason why a checkpoint cannot be served privately, all at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from veilform.approx import registry
from veilform.approx.entry import Activation, Attention
from veilform.errors import ModelError
from veilform.models.bert import names
from veilform.models.bert.config import BertConfig
from veilform.models.bert.family import FAMILIES
from veilform.models.bert.stored import Layout
from veilform.models.checkpoint import (
    MAX_CONFIG_BYTES,
    Checkpoint,
    read_config,
    read_json,
    shape_problems,
)
from veilform.models.text import TextEncoder

_T = TypeVar("_T")
Shapes = Mapping[str, tuple[int, ...]]

LIMITS = {
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 48,
    "num_attention_heads": 64,
    "vocab_size": 1 << 18,
    "max_position_embeddings": 4096,
    "type_vocab_size": 16,
}
"""Sizes up to here keep every wire's sum inside the ring with room to spare."""
MAX_LABELS = 1000
MIN_POSITIONS = 16
"""The smallest length bucket."""
POOLING = "1_Pooling/config.json"
_MODE = "pooling_mode_"


def problems(config: BertConfig, shapes: Shapes, tokenizer: TextEncoder | None) -> list[str]:
    """One line for each reason, from the config, the tensors' shapes and the tokenizer."""
    return [
        *_family(config),
        *_functions(config),
        *_sizes(config),
        *_vocabulary(config, tokenizer),
        *_tensors(config, shapes),
    ]


def examine(folder: Path) -> list[str]:
    """Like ``problems`` for a checkpoint folder; looks at the values of all tensors too."""
    if not folder.is_dir():
        return [f"there is no folder {str(folder)!r}"]
    found: list[str] = []

    def attempt(read: Callable[[Path], _T]) -> _T | None:
        try:
            return read(folder)
        except ModelError as error:
            found.extend(line for line in str(error).splitlines() if line not in found)
            return None

    raw = attempt(read_config)
    checkpoint = attempt(Checkpoint.open)
    config, unreadable = BertConfig.examine(raw) if raw is not None else (None, [])
    found += unreadable
    tokenizer = attempt(TextEncoder.from_folder) if config is not None else None
    if config is not None:
        found += [*_family(config), *_functions(config), *_sizes(config)]
        found += _vocabulary(config, tokenizer) if tokenizer is not None else []
        if not config.classifies:
            found += attempt(lambda folder: list(_pooling(folder))) or []
    if config is not None and checkpoint is not None:
        found += [*_tensors(config, checkpoint.shapes), *_values(checkpoint, config)]
    return found


def check(folder: Path) -> BertConfig:
    """The config of a checkpoint that can be served.

    Raises:
        ModelError: it cannot be; one line for each reason.
    """
    found = examine(folder)
    if found:
        raise ModelError(f"{str(folder)!r} cannot be served privately:\n" + "\n".join(found))
    return BertConfig.parse(Checkpoint.open(folder).config)


def _family(config: BertConfig) -> Iterator[str]:
    if config.model_type not in FAMILIES:
        supported = ", ".join(map(repr, FAMILIES))
        yield f"model_type {config.model_type!r} is not supported; supported: {supported}"
    known = config.family.architectures
    wanted = known.get(config.architecture)
    if wanted is None:
        supported = ", ".join(known)
        yield f"architecture {config.architecture!r} is not supported; supported: {supported}"
    elif config.pooling != wanted.pooling:
        yield (
            f"{config.architecture} pools by {wanted.pooling!r}, but pooling is {config.pooling!r}"
        )
    if config.position_embedding_type != "absolute":
        yield f"position_embedding_type {config.position_embedding_type!r} is not 'absolute'"
    if config.is_decoder:
        yield "is_decoder: a decoder's causal attention is not supported"
    if config.add_cross_attention:
        yield "add_cross_attention: cross-attention is not supported"


def _functions(config: BertConfig) -> Iterator[str]:
    for key, names_, kind, stand_in in (
        ("hidden_act", config.layer_hidden_acts or (config.hidden_act,), Activation, "quad"),
        ("softmax_act", config.layer_softmax_acts or (config.softmax_act,), Attention, "2quad"),
    ):
        for name in dict.fromkeys(names_):
            entry = registry.ENTRIES.get(name)
            if not isinstance(entry, kind) or entry.secure is None:
                yield (
                    f"{config.family.key(key)} {name!r} has no secure protocol; distil the model "
                    f"to {stand_in!r} first (docs/distillation.md)"
                )
    if config.pooling == "cls" and registry.activation(config.head_act).secure is None:
        yield (
            f"{config.architecture} has {config.head_act!r} in its head, which has no secure "
            f"protocol; distil it to {config.family.classes}MeanPoolForSequenceClassification"
        )


def _pooling(folder: Path) -> Iterator[str]:
    """A sentence-transformers folder says beside the model how it pools."""
    if not (folder / POOLING).is_file():
        return
    modes = read_json(folder, POOLING, MAX_CONFIG_BYTES)
    chosen = {key for key, value in modes.items() if key.startswith(_MODE) and value is True}
    if not chosen <= {_MODE + "mean_tokens"}:
        yield f"{POOLING} asks for {', '.join(sorted(chosen))}; only the mean over tokens is served"


def _sizes(config: BertConfig) -> Iterator[str]:
    for key, limit in LIMITS.items():
        if getattr(config, key) > limit:
            yield f"{key} {getattr(config, key)} is over the limit of {limit}"
    if len(config.labels) > MAX_LABELS:
        yield f"{len(config.labels)} labels are over the limit of {MAX_LABELS}"
    if config.max_position_embeddings < MIN_POSITIONS:
        yield (
            f"max_position_embeddings {config.max_position_embeddings} is under the smallest "
            f"length bucket, {MIN_POSITIONS}"
        )
    if config.hidden_size % config.num_attention_heads:
        yield (
            f"hidden_size {config.hidden_size} is not a multiple of "
            f"num_attention_heads {config.num_attention_heads}"
        )
    if not (math.isfinite(config.layer_norm_eps) and 0 <= config.layer_norm_eps <= 0.01):
        yield f"layer_norm_eps {config.layer_norm_eps} is not between 0 and 0.01"


def _tensors(config: BertConfig, shapes: Shapes) -> Iterator[str]:
    if config.num_hidden_layers > LIMITS["num_hidden_layers"]:
        return  # a list of millions of missing tensors helps nobody
    layout = Layout.of(config, shapes)
    expected = layout.shapes(names.expected_shapes(config))
    yield from shape_problems(shapes, expected)
    for name in shapes:
        if name not in expected and not layout.is_ignorable(name):
            yield f"tensor {name} has no place in this architecture"


def _vocabulary(config: BertConfig, tokenizer: TextEncoder | None) -> Iterator[str]:
    if tokenizer is None:
        yield "there is no tokenizer.json: save the tokenizer into the folder"
    elif tokenizer.vocab_size > config.vocab_size:
        yield (
            f"the tokenizer has {tokenizer.vocab_size} tokens, the model's table only "
            f"{config.vocab_size}"
        )


def _values(checkpoint: Checkpoint, config: BertConfig) -> Iterator[str]:
    if config.num_hidden_layers > LIMITS["num_hidden_layers"]:
        return
    layout = Layout.of(config, checkpoint.shapes)
    expected = layout.shapes(names.expected_shapes(config))
    for name in checkpoint.shapes:
        if name not in expected:
            continue
        try:
            value = checkpoint.load([name])[name]
        except ModelError as error:
            yield str(error)
            continue
        wrong = value.size - int(np.isfinite(value).sum())
        if wrong:
            yield f"tensor {name} has {wrong} values that are not finite"
