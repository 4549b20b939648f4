"""The registry of approximations, entered into Transformers' registries of functions.

After ``register()``, a stock model whose config says ``hidden_act: "quad"`` and which is loaded
with ``attn_implementation="2quad"`` computes with them. One more attention function, ``per-layer``,
asks each attention module for its own (see ``student.install``).

A model may be *watched*: an attention module with an attribute ``watcher`` hands it the scores of
every forward pass, which distillation compares between teacher and student.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.activations import ACT2FN
from transformers.masking_utils import sdpa_mask

from veilform.approx.entry import Activation, Attention
from veilform.approx.registry import ENTRIES

PER_LAYER = "per-layer"


class Elementwise(nn.Module):
    """An activation of the registry in the form that ``ACT2FN`` expects."""

    def __init__(self, entry: Activation) -> None:
        super().__init__()
        self.entry = entry

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.entry.plain(x)


def attend(
    entry: Attention,
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention with one function of the registry; query, key and value are [B, H, T, d].

    ``mask`` is boolean, True where a key may be seen, or None; the scores are float32.
    """
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = (torch.matmul(query, key.transpose(2, 3)) * scaling).float()
    if mask is None:
        mask = torch.ones(scores.shape[0], 1, 1, scores.shape[-1], dtype=torch.bool).to(
            scores.device
        )
    if (watcher := getattr(module, "watcher", None)) is not None:
        watcher(scores)
    weights = entry.plain(scores, mask)
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    output = torch.matmul(weights.to(value.dtype), value)
    return output.transpose(1, 2).contiguous(), weights


def _attention_function(
    entry: Attention | None,
) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    def forward(  # type: ignore[no-untyped-def]
        module, query, key, value, attention_mask, scaling=None, dropout=0.0, **_
    ):
        chosen = module.attention_entry if entry is None else entry
        return attend(chosen, module, query, key, value, attention_mask, scaling, dropout)

    return forward


def register() -> None:
    """Enter every function into Transformers' registries; doing it again changes nothing."""
    for name, entry in ENTRIES.items():
        if isinstance(entry, Attention):
            AttentionInterface.register(name, _attention_function(entry))
            AttentionMaskInterface.register(name, sdpa_mask)
        elif name not in ACT2FN:
            ACT2FN[name] = (Elementwise, {"entry": entry})
    AttentionInterface.register(PER_LAYER, _attention_function(None))
    AttentionMaskInterface.register(PER_LAYER, sdpa_mask)
