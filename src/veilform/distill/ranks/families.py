"""Where a model can be cut into parts, and its layers into shards: BERT's family and GPT-2."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import torch
from torch import nn
from torch.distributed.tensor import Replicate
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    PrepareModuleInput,
    RowwiseParallel,
)
from transformers import PreTrainedModel

from veilform.distill import anatomy

Split = tuple[nn.Module, ParallelStyle]


class Family(ABC):
    """What differs between families.

    Attributes:
        options: what goes to every forward pass besides.
        is_causal: a language model: every token's logits predict the next one.
    """

    options: Mapping[str, object] = MappingProxyType({})
    is_causal = False

    @abstractmethod
    def blocks(self, model: PreTrainedModel) -> nn.ModuleList:
        """The layers, in order."""

    @abstractmethod
    def start(self, model: PreTrainedModel) -> list[nn.Module]:
        """The modules before the layers that have parameters: the embeddings."""

    @abstractmethod
    def drop_start(self, model: PreTrainedModel) -> None:
        """Make ``inputs_embeds`` the first layer's input."""

    @abstractmethod
    def drop_end(self, model: PreTrainedModel) -> None:
        """Make the base model's ``last_hidden_state`` the last layer's output."""

    @abstractmethod
    def widths(self, model: PreTrainedModel) -> list[tuple[str, int]]:
        """What tensor parallelism shares, by name, and how many of it there are."""

    @abstractmethod
    def splits(self, block: nn.Module, shards: int) -> Iterator[Split]:
        """How the modules of one layer are shared by ``shards`` devices."""

    def prepare(self, model: PreTrainedModel) -> None:  # noqa: B027
        """Put the model into the form that the other methods expect."""

    def restore(self, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The state of the stock model from that of the prepared one."""
        return state

    def tied(self, model: PreTrainedModel) -> nn.Parameter | None:
        """The tensor that the first and the last part both hold, where there is one."""
        return None


class Received(nn.Module):
    """In place of the embeddings: what the part before sent."""

    def forward(
        self, input_ids: None = None, inputs_embeds: torch.Tensor | None = None, *_: object,
        **__: object,
    ) -> torch.Tensor | None:  # fmt: skip
        return inputs_embeds


def same_input() -> ParallelStyle:
    """One layout for all projections of an attention: their gradients are summed together."""
    return PrepareModuleInput(
        input_layouts=Replicate(), desired_input_layouts=Replicate(), use_local_output=False
    )


class Encoder(Family):
    """BERT, RoBERTa, DistilBERT with a classifier."""

    def blocks(self, model: PreTrainedModel) -> nn.ModuleList:
        return anatomy.blocks(model)

    def start(self, model: PreTrainedModel) -> list[nn.Module]:
        return [anatomy.embeddings(model)]

    def drop_start(self, model: PreTrainedModel) -> None:
        model.base_model.embeddings = Received()

    def drop_end(self, model: PreTrainedModel) -> None:
        if getattr(model.base_model, "pooler", None) is not None:
            model.base_model.pooler = None
        for name, child in list(model.named_children()):
            if child is not model.base_model:
                setattr(model, name, None)

    def widths(self, model: PreTrainedModel) -> list[tuple[str, int]]:
        inner = {parts.first.out_features for parts in anatomy.layers(model)}
        heads = model.config.num_attention_heads
        return [("heads", heads), *(("inner units", width) for width in sorted(inner))]

    def splits(self, block: nn.Module, shards: int) -> Iterator[Split]:
        parts = anatomy.layer(block)
        yield parts.attention, same_input()
        for module in (parts.query, parts.key, parts.value, parts.first):
            yield module, ColwiseParallel()
        for module in (parts.projection, parts.second):
            yield module, RowwiseParallel()


def family_of(model: PreTrainedModel) -> Family:
    """The family of a model.

    Raises:
        ModelError: it is of none that can be laid out.
    """
    if hasattr(model, "lm_head") and model.config.model_type == "gpt2":
        from veilform.distill.ranks.gpt2 import Gpt2

        return Gpt2()
    anatomy.blocks(model)
    return Encoder()
