"""Exact storage types: int8 rows with a float16 scale for the word embedding, float16 elsewhere.

The embeddings are rounded before any training and stay frozen, so the values that training saw are
the values that the shipped file stores.
"""

from __future__ import annotations

import torch
from torch import nn


def quantise_rows(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Symmetric int8 per row: ``weight`` [V, D] -> int8 [V, D] and float16 scales [V, 1]."""
    scale = (weight.abs().amax(dim=1, keepdim=True).float() / 127.0).half()
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    rounded = torch.round(weight.float() / scale.float()).clamp(-127, 127)
    return rounded.to(torch.int8), scale


def dequantise_rows(rows: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """float32 [V, D] from int8 rows [V, D] and float16 scales [V, 1]."""
    return rows.float() * scale.float()


@torch.no_grad()
def round_embeddings(model: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Round ``model.bert.embeddings`` in place; return the int8 rows and float16 scales."""
    embeddings = model.bert.embeddings
    rows, scale = quantise_rows(embeddings.word_embeddings.weight)
    for parameter in embeddings.parameters():
        parameter.copy_(parameter.half().float())
    embeddings.word_embeddings.weight.copy_(dequantise_rows(rows, scale))
    return rows, scale


@torch.no_grad()
def round_encoder(model: nn.Module) -> None:
    """Round every tensor outside the embeddings to float16 precision, in place."""
    for name, parameter in model.named_parameters():
        if not name.startswith("bert.embeddings."):
            parameter.copy_(parameter.half().float())
