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


def _bert(block: nn.Module) -> LayerParts:
    inner = block.attention.self
    return LayerParts(
        inner, inner.query, inner.key, inner.value,
        block.attention.output.dense, block.attention.output.LayerNorm,
        block.intermediate.dense, block.output.dense,
        block.intermediate, "intermediate_act_fn", block.output.LayerNorm,
    )  # fmt: skip


def _distilbert(block: nn.Module) -> LayerParts:
    inner = block.attention
    return LayerParts(
        inner, inner.q_lin, inner.k_lin, inner.v_lin, inner.out_lin, block.sa_layer_norm,
        block.ffn.lin1, block.ffn.lin2, block.ffn, "activation", block.output_layer_norm,
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


def layer(block: nn.Module) -> LayerParts:
    """The parts of one encoder layer."""
    return _bert(block) if hasattr(block, "intermediate") else _distilbert(block)


def layers(model: nn.Module) -> list[LayerParts]:
    """The parts of every encoder layer.

    Raises:
        ModelError: the model is of no family that distillation knows.
    """
    return [layer(block) for block in blocks(model)]


def embeddings(model: nn.Module) -> nn.Module:
    """The embedding block: words, positions, its layer norm."""
    return model.base_model.embeddings
