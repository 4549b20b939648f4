"""Where the parts of a layer are, under the names of BERT, RoBERTa and DistilBERT."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from veilform.errors import ModelError


@dataclass(frozen=True)
class LayerParts:
    """The modules of one encoder layer.

    Attributes:
        attention: the module that calls the attention function.
        projection: the linear layer after attention.
        first, second: the feed-forward block's linear layers.
        ffn_owner, activation: the module that holds the activation, and under which name.
        attention_norm, ffn_norm: layer norms after attention and after the feed-forward block.
    """

    attention: nn.Module
    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    projection: nn.Linear
    attention_norm: nn.LayerNorm
    first: nn.Linear
    second: nn.Linear
    ffn_owner: nn.Module
    activation: str
    ffn_norm: nn.LayerNorm


def _bert(layer: nn.Module) -> LayerParts:
    inner = layer.attention.self
    return LayerParts(
        inner, inner.query, inner.key, inner.value,
        layer.attention.output.dense, layer.attention.output.LayerNorm,
        layer.intermediate.dense, layer.output.dense,
        layer.intermediate, "intermediate_act_fn", layer.output.LayerNorm,
    )  # fmt: skip


def _distilbert(layer: nn.Module) -> LayerParts:
    inner = layer.attention
    return LayerParts(
        inner, inner.q_lin, inner.k_lin, inner.v_lin, inner.out_lin, layer.sa_layer_norm,
        layer.ffn.lin1, layer.ffn.lin2, layer.ffn, "activation", layer.output_layer_norm,
    )  # fmt: skip


def blocks(model: nn.Module) -> nn.ModuleList:
    """The encoder layers, in order.

    Raises:
        ModelError: the model is of no family that distillation knows.
    """
    base = model.base_model
    for name in ("encoder", "transformer"):
        if hasattr(base, name):
            return getattr(base, name).layer
    kind = getattr(model.config, "model_type", "unknown")
    raise ModelError(f"models of type {kind!r} are not supported: use BERT, RoBERTa or DistilBERT")


def layers(model: nn.Module) -> list[LayerParts]:
    """The parts of every encoder layer.

    Raises:
        ModelError: the model is of no family that distillation knows.
    """
    read = _bert if hasattr(model.base_model, "encoder") else _distilbert
    return [read(layer) for layer in blocks(model)]


def embeddings(model: nn.Module) -> nn.Module:
    """The embedding block: words, positions, its layer norm."""
    return model.base_model.embeddings
