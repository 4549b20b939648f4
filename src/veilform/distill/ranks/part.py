"""A pipeline stage: the stock model without what other ranks hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor.parallel import parallelize_module
from transformers import PreTrainedModel

from veilform.distill.ranks.families import Family, Split
from veilform.distill.ranks.layout import Layout


class Elsewhere(nn.Module):
    """In place of a layer of another part: hands its input on."""

    def forward(self, hidden: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        return hidden


class Part(nn.Module):
    """Part ``index`` of ``model``, which is taken apart: parameters keep their names.

    What is left runs in the stock classes' own ``forward``, so masks, attention functions and heads
    are theirs. ``after`` is called with the output and the mask, and may put losses behind it.
    """

    def __init__(
        self, model: PreTrainedModel, family: Family, spans: list[range], index: int, bf16: bool
    ) -> None:
        super().__init__()
        self.first, self.last, self.bf16 = index == 0, index == len(spans) - 1, bf16
        blocks = family.blocks(model)
        # A plain list: the model has these modules under their stock names.
        self.inside = [blocks[i] for i in spans[index]]
        for i in range(len(blocks)):
            if i not in spans[index]:
                blocks[i] = Elsewhere()
        if not self.first:
            family.drop_start(model)
        if not self.last:
            family.drop_end(model)
        self.model, self.options = model, family.options
        self.after: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None

    def forward(self, given: torch.Tensor, **texts: torch.Tensor) -> torch.Tensor:
        """Logits ([B, C], of language models [B, T, C]) of the last part, [B, T, D] of the others.

        ``given`` is the token numbers [B, T] for the first part, else the part before's hidden
        states; ``texts`` has ``attention_mask`` and, for some families, ``token_type_ids``.
        """
        source = {"input_ids" if self.first else "inputs_embeds": given}
        # Casting inside keeps the backward pass, which the schedule runs, out of autocast.
        with torch.autocast(given.device.type, torch.bfloat16, enabled=self.bf16):
            if self.last:
                output = self.model(**source, **texts, **self.options).logits
            else:
                output = self.model.base_model(**source, **texts, **self.options).last_hidden_state
        output = output.float()
        return output if self.after is None else self.after(output, texts["attention_mask"])


def owners(model: PreTrainedModel, family: Family, spans: list[range]) -> dict[str, int]:
    """The part that holds each tensor of the whole model's state."""
    prefix = {id(module): f"{name}." for name, module in model.named_modules()}
    blocks = family.blocks(model)
    starts = {prefix[id(module)]: 0 for module in family.start(model)}
    for part, span in enumerate(spans):
        starts |= {prefix[id(blocks[i])]: part for i in span}
    last = len(spans) - 1
    return {
        name: next((part for start, part in starts.items() if name.startswith(start)), last)
        for name in model.state_dict()
    }


def shard(splits: Iterable[Split], mesh: DeviceMesh) -> None:
    """Share layers over the mesh's devices, as Megatron-LM does (arXiv 1909.08053, section 3).

    Heads and the feed-forward block's inner width are split, two sums a layer and direction. No
    weights travel: every rank cuts its columns out of the model that it loaded.
    """
    for module, style in splits:
        parallelize_module(module, mesh, style, src_data_rank=None)


@dataclass(frozen=True)
class Place:
    """Where one tensor of the whole model is, and what it looks like."""

    part: int
    shape: torch.Size
    dtype: torch.dtype


def build_part(
    model: PreTrainedModel, family: Family, layout: Layout, mesh: DeviceMesh, bf16: bool = False
) -> tuple[Part, dict[str, Place]]:
    """This rank's part of a prepared model, and the place of every tensor of the whole.

    Raises:
        InputError: the plan does not fit the model.
    """
    layout.check_widths(family.widths(model))
    spans = layout.spans(len(family.blocks(model)))
    parts, state = owners(model, family, spans), model.state_dict()
    places = {name: Place(parts[name], v.shape, v.dtype) for name, v in state.items()}
    index = mesh.get_local_rank("pp")
    part = Part(model, family, spans, index, bf16)
    if layout.tp > 1:
        for block in part.inside:
            shard(family.splits(block, layout.tp), mesh["tp"])
    return part, places
