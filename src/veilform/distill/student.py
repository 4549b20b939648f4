"""Students: stock Hugging Face classifiers with functions of the registry installed.

A config names the functions: ``hidden_act`` and ``softmax_act``, or one name for each layer in
``layer_hidden_acts`` and ``layer_softmax_acts``.  ``Student.from_pretrained`` loads a model and
installs them; a teacher is loaded in the same way and names none but gelu and softmax.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.activations import ACT2FN

from veilform.approx import registry
from veilform.distill.anatomy import embeddings, layers
from veilform.distill.functions import PER_LAYER, register
from veilform.distill.pooled import BertMeanPoolForSequenceClassification
from veilform.errors import ModelError
from veilform.models.checkpoint import Checkpoint

register()


def per_layer(config: PretrainedConfig) -> tuple[list[str], list[str]]:
    """Names of each layer's activation and attention function.

    Raises:
        ModelError: a list of another length than the model has layers.
    """
    count = config.num_hidden_layers
    act = getattr(config, "hidden_act", None) or getattr(config, "activation", "gelu")
    acts = getattr(config, "layer_hidden_acts", None) or [act] * count
    attention = getattr(config, "softmax_act", None) or "softmax"
    attentions = getattr(config, "layer_softmax_acts", None) or [attention] * count
    for name, names in (("layer_hidden_acts", acts), ("layer_softmax_acts", attentions)):
        if len(names) != count:
            raise ModelError(f"{name} has {len(names)} names for {count} layers: give one each")
    return list(acts), list(attentions)


def install(model: PreTrainedModel) -> PreTrainedModel:
    """Put the functions that the model's config names into its layers; returns the model."""
    acts, attentions = per_layer(model.config)
    for parts, act, attention in zip(layers(model), acts, attentions, strict=True):
        parts.attention.attention_entry = registry.attention(attention)
        if act not in ACT2FN:
            registry.activation(act)
        setattr(parts.ffn_owner, parts.activation, ACT2FN[act])
    model.set_attn_implementation(PER_LAYER)
    return model


def classifier_class(config: PretrainedConfig) -> type:
    """The class that builds a classifier of this config: stock, or ours with mean pooling."""
    if getattr(config, "pooling", None) == "mean" and config.model_type == "bert":
        return BertMeanPoolForSequenceClassification
    return AutoModelForSequenceClassification


def load_model(folder: Path | str, **changes: object) -> PreTrainedModel:
    """A classifier from a folder in Hugging Face's format, float32, in eval mode.

    ``changes`` are keys of the config to set before.
    """
    config = AutoConfig.from_pretrained(folder)
    for name, value in changes.items():
        setattr(config, name, value)
    if not _is_packed(Path(folder)):
        cls = classifier_class(config)
        return install(cls.from_pretrained(folder, config=config, dtype=torch.float32)).eval()
    model = build_model(config)
    tensors = Checkpoint.open(Path(folder)).load()
    model.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
    return model


def _is_packed(folder: Path) -> bool:
    """Whether tensors are stored as int8 rows with scales, as the shipped student's are."""
    path = folder / "model.safetensors"
    if not path.is_file():
        return False
    with safe_open(path, framework="pt") as file:
        return any(name.endswith("weight_scale") for name in file.keys())  # noqa: SIM118


def build_model(config: PretrainedConfig) -> PreTrainedModel:
    """A randomly initialised classifier, in eval mode."""
    cls = classifier_class(config)
    build = cls.from_config if hasattr(cls, "from_config") else cls
    return install(build(config)).eval()


def student_config(teacher: PretrainedConfig, act: str, attention: str) -> PretrainedConfig:
    """The teacher's config with these functions in every layer, and without dropout.

    ``act`` and ``attention`` are names, or names joined by commas, one for each layer.
    """
    config = copy.deepcopy(teacher)
    acts, attentions = act.split(","), attention.split(",")
    for name in acts:
        registry.activation(name)
    for name in attentions:
        registry.attention(name)
    config.hidden_act = config.activation = acts[0]
    config.softmax_act = attentions[0]
    if len(acts) > 1:
        config.layer_hidden_acts = acts
    if len(attentions) > 1:
        config.layer_softmax_acts = attentions
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout",
                 "attention_dropout", "seq_classif_dropout", "classifier_dropout"):  # fmt: skip
        if getattr(config, name, None) is not None:
            setattr(config, name, 0.0)
    per_layer(config)
    return config


def new_student(teacher: PreTrainedModel, act: str, attention: str) -> PreTrainedModel:
    """A student with the teacher's weights."""
    student = build_model(student_config(teacher.config, act, attention))
    student.load_state_dict(teacher.state_dict())
    return student


def freeze_embeddings(model: nn.Module) -> None:
    """Keep the embedding block as it is: the client holds it, and it is public."""
    for parameter in embeddings(model).parameters():
        parameter.requires_grad_(False)


@dataclass
class Student:
    """A student and where it came from.

    >>> student = Student.from_pretrained("folder")  # doctest: +SKIP
    >>> student.model(**inputs).logits  # doctest: +SKIP
    """

    model: PreTrainedModel

    @classmethod
    def from_pretrained(cls, folder: Path | str) -> Student:
        """Load a folder that ``save_pretrained`` wrote."""
        return cls(load_model(folder))

    def save_pretrained(self, folder: Path | str) -> None:
        """Write ``config.json`` and ``model.safetensors``."""
        self.model.save_pretrained(folder)
