"""A pipeline stage: the stock model without what other ranks hold."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import Replicate
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    PrepareModuleInput,
    RowwiseParallel,
    parallelize_module,
)
from transformers import PreTrainedModel

from veilform.distill.anatomy import LayerParts, blocks, embeddings, layers
from veilform.distill.ranks.layout import Layout


class Elsewhere(nn.Module):
    """In place of a layer of another part: hands its input on."""

    def forward(self, hidden: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        return hidden


class Received(nn.Module):
    """In place of the embeddings: what the part before sent."""

    def forward(
        self, input_ids: None = None, inputs_embeds: torch.Tensor | None = None, *_: object,
        **__: object,
    ) -> torch.Tensor | None:  # fmt: skip
        return inputs_embeds


class Part(nn.Module):
    """Part ``index`` of ``model``, which is taken apart: parameters keep their stock names.

    What is left runs in the stock classes' own ``forward``, so masks, attention functions and heads
    are theirs.
    """

    def __init__(self, model: PreTrainedModel, spans: list[range], index: int, bf16: bool) -> None:
        super().__init__()
        self.first, self.last, self.bf16 = index == 0, index == len(spans) - 1, bf16
        chain = blocks(model)
        for i in range(len(chain)):
            if i not in spans[index]:
                chain[i] = Elsewhere()
        if not self.first:
            model.base_model.embeddings = Received()
        if not self.last:
            if getattr(model.base_model, "pooler", None) is not None:
                model.base_model.pooler = None
            for name, child in list(model.named_children()):
                if child is not model.base_model:
                    setattr(model, name, None)
        self.model = model

    def forward(self, given: torch.Tensor, **texts: torch.Tensor) -> torch.Tensor:
        """Logits [B, C] of the last part, hidden states [B, T, D] of the others.

        ``given`` is the token numbers [B, T] for the first part, else the part before's hidden
        states; ``texts`` has ``attention_mask`` and, for some families, ``token_type_ids``.
        """
        source = {"input_ids" if self.first else "inputs_embeds": given}
        # Casting inside keeps the backward pass, which the schedule runs, out of autocast.
        with torch.autocast(given.device.type, torch.bfloat16, enabled=self.bf16):
            if self.last:
                return self.model(**source, **texts).logits.float()
            return self.model.base_model(**source, **texts).last_hidden_state.float()


def owners(model: PreTrainedModel, spans: list[range]) -> dict[str, int]:
    """The part that holds each tensor of the whole model's state."""
    chain, base = blocks(model), embeddings(model)
    prefix = {id(module): f"{name}." for name, module in model.named_modules()}
    starts = {prefix[id(base)]: 0}
    for part, span in enumerate(spans):
        starts |= {prefix[id(chain[i])]: part for i in span}
    last = len(spans) - 1
    return {
        name: next((part for start, part in starts.items() if name.startswith(start)), last)
        for name in model.state_dict()
    }


def shard(parts: Iterable[LayerParts], mesh: DeviceMesh) -> None:
    """Share layers over the mesh's devices, as Megatron-LM does (arXiv 1909.08053, section 3).

    Heads and the feed-forward block's inner width are split, two sums a layer and direction. No
    weights travel: every rank cuts its columns out of the model that it loaded.
    """
    column = ColwiseParallel()
    row = RowwiseParallel()
    # One layout for the three projections' input: their gradients are then summed together.
    same = PrepareModuleInput(
        input_layouts=Replicate(), desired_input_layouts=Replicate(), use_local_output=False
    )
    for part in parts:
        for module, style in (
            (part.attention, same), (part.query, column), (part.key, column), (part.value, column),
            (part.projection, row), (part.first, column), (part.second, row),
        ):  # fmt: skip
            parallelize_module(module, mesh, style, src_data_rank=None)


def build_part(
    model: PreTrainedModel, layout: Layout, mesh: DeviceMesh, bf16: bool = False
) -> tuple[Part, dict[str, int]]:
    """This rank's part of ``model``, and the part of every tensor in the whole model's state.

    Raises:
        InputError: the plan does not fit the model.
        ModelError: the model is of no family that distillation knows.
    """
    inside = layers(model)
    heads = model.config.num_attention_heads
    inner = {parts.first.out_features for parts in inside}
    layout.check_widths([("heads", heads), *(("inner units", width) for width in sorted(inner))])
    spans = layout.spans(len(inside))
    index = mesh.get_local_rank("pp")
    held = owners(model, spans)
    part = Part(model, spans, index, bf16)
    if layout.tp > 1:
        shard((inside[i] for i in spans[index]), mesh["tp"])
    return part, held
