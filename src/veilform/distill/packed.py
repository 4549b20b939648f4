"""A student's folder a third as large: int8 rows with a float16 scale for words, float16 elsewhere.

The shipped student is stored so. Its embeddings were rounded before any training and stayed
frozen, so the values that training saw are the values that the file stores.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel

from veilform.distill.anatomy import embeddings

SCALE = "_scale"


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
def round_embeddings(model: nn.Module) -> None:
    """Round the embedding block to the values that ``save`` would store."""
    block = embeddings(model)
    words = dequantise_rows(*quantise_rows(block.word_embeddings.weight))
    for parameter in block.parameters():
        parameter.copy_(parameter.half().float())
    block.word_embeddings.weight.copy_(words)


def save(model: PreTrainedModel, folder: Path) -> None:
    """Write ``config.json`` and the packed ``model.safetensors``; ``load_model`` reads them."""
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    tensors = {k: v.detach().half().contiguous() for k, v in model.state_dict().items()}
    name = next(name for name in tensors if name.endswith("word_embeddings.weight"))
    tensors[name], tensors[name + SCALE] = quantise_rows(model.state_dict()[name])
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
