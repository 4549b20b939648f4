"""GPT-2 language models over several devices."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import torch
from torch import nn
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from veilform.distill.ranks.families import Family, Split, same_input

THIRDS = ("query", "key", "value")
_TURNED = re.compile(r"\.h\.\d+\.(attn\.c_proj|mlp\.c_fc|mlp\.c_proj)\.weight$")
_FUSED = re.compile(r"(.*\.c_attn)\.query\.(weight|bias)$")


class Thirds(nn.Module):
    """``c_attn`` as three linear layers: a column shard of each is whole heads."""

    def __init__(self, fused: Conv1D) -> None:
        super().__init__()
        weights, biases = fused.weight.chunk(3, dim=1), fused.bias.chunk(3)
        self.query, self.key, self.value = map(_linear, weights, biases)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.query(x), self.key(x), self.value(x)], dim=-1)


class NoPositions(nn.Module):
    """In place of the position embeddings, which the first part added."""

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        return torch.zeros((), device=positions.device)


class Gpt2(Family):
    """``GPT2LMHeadModel``; its head and its word embeddings may be one tensor."""

    options: Mapping[str, object] = MappingProxyType({"use_cache": False})
    is_causal = True

    def prepare(self, model: PreTrainedModel) -> None:
        """Linear layers for ``Conv1D``, which tensor parallel styles do not know."""
        for block in self.blocks(model):
            block.attn.c_attn = Thirds(block.attn.c_attn)
            for owner, name in ((block.attn, "c_proj"), (block.mlp, "c_fc"), (block.mlp, "c_proj")):
                layer = getattr(owner, name)
                setattr(owner, name, _linear(layer.weight, layer.bias))

    def restore(self, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        whole = {}
        for name, value in state.items():
            if found := _FUSED.match(name):
                prefix, kind = found.groups()
                fused = torch.cat([state[f"{prefix}.{third}.{kind}"] for third in THIRDS])
                whole[f"{prefix}.{kind}"] = fused.T.contiguous() if kind == "weight" else fused
            elif ".c_attn." not in name:
                whole[name] = value.T.contiguous() if _TURNED.search(name) else value
        return whole

    def blocks(self, model: PreTrainedModel) -> nn.ModuleList:
        return model.transformer.h

    def start(self, model: PreTrainedModel) -> list[nn.Module]:
        return [model.transformer.wte, model.transformer.wpe]

    def drop_start(self, model: PreTrainedModel) -> None:
        model.transformer.wte = None
        model.transformer.wpe = NoPositions()
        model.transformer.drop = nn.Identity()

    def drop_end(self, model: PreTrainedModel) -> None:
        model.transformer.ln_f = nn.Identity()
        model.lm_head = None

    def tied(self, model: PreTrainedModel) -> nn.Parameter | None:
        if not model.config.tie_word_embeddings:
            return None
        holder = model.transformer.wte or model.lm_head
        return None if holder is None else holder.weight

    def widths(self, model: PreTrainedModel) -> list[tuple[str, int]]:
        inner = self.blocks(model)[0].mlp.c_fc.out_features
        return [("heads", model.config.num_attention_heads), ("inner units", inner)]

    def splits(self, block: nn.Module, shards: int) -> Iterator[Split]:
        block.attn.split_size //= shards
        yield block.attn.c_attn, same_input()
        for third in THIRDS:
            yield getattr(block.attn.c_attn, third), ColwiseParallel()
        yield block.attn.c_proj, RowwiseParallel()
        yield block.mlp.c_fc, ColwiseParallel()
        yield block.mlp.c_proj, RowwiseParallel()


def _linear(weight: torch.Tensor, bias: torch.Tensor) -> nn.Linear:
    """A linear layer of a ``Conv1D``'s weight [in, out] and bias."""
    layer = nn.Linear(*weight.shape, device="meta")
    layer.weight = nn.Parameter(weight.detach().T.contiguous(), weight.requires_grad)
    layer.bias = nn.Parameter(bias.detach().clone(), bias.requires_grad)
    return layer
