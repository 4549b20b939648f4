"""BERT classifier with mean pooling, and the Quad / 2Quad functions registered in Transformers.

Functions (MPCFormer, arXiv 2211.01452, section 3), for inputs of any shape::

    Quad(x)  = x^2/8 + x/4 + 1/2
    2Quad(s) = (s_ij + 5)^2 mask_j / sum_k (s_ik + 5)^2 mask_k      (instead of softmax)

The mask multiplies; nothing is ever added to the scores.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, BertConfig
from transformers.activations import ACT2FN
from transformers.masking_utils import sdpa_mask
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.models.bert.modeling_bert import BertModel, BertPreTrainedModel

SHIFT = 5.0


def quad(x: torch.Tensor) -> torch.Tensor:
    """Quad(x) = x^2/8 + x/4 + 1/2, element by element."""
    return torch.addcmul(torch.full((), 0.5, dtype=x.dtype), x, 0.125 * x + 0.25)


def two_quad_numerator(scores: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """(s + 5)^2 * mask for scores [B, H, T, T] and a mask that broadcasts to them."""
    numerator = (scores.float() + SHIFT).square()
    return numerator if mask is None else numerator * mask


def two_quad(scores: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """2Quad attention weights: the masked (s + 5)^2 divided by its sum over the keys."""
    numerator = two_quad_numerator(scores, mask)
    return numerator / numerator.sum(-1, keepdim=True)


class Quad(nn.Module):
    """Module form of :func:`quad`, as ``ACT2FN`` expects."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Quad of each element."""
        return quad(x)


def two_quad_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: object,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention function for Transformers' registry: query, key, value are [B, H, T, d_head].

    ``attention_mask`` is boolean (True = visible) or None.  When the module has a list
    ``row_means``, the mean over visible keys of (s + 5)^2, shape [B, H, T], is appended to it.
    """
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    numerator = two_quad_numerator(scores, attention_mask)
    total = numerator.sum(-1, keepdim=True)
    if (means := getattr(module, "row_means", None)) is not None:
        count = scores.shape[-1] if attention_mask is None else attention_mask.sum(-1)
        means.append(total.squeeze(-1) / count)
    weights = nn.functional.dropout(numerator / total, p=dropout, training=module.training)
    output = torch.matmul(weights.to(value.dtype), value)
    return output.transpose(1, 2).contiguous(), weights


ACT2FN["quad"] = Quad
AttentionInterface.register("2quad", two_quad_attention)
AttentionMaskInterface.register("2quad", sdpa_mask)


class BertMeanPoolForSequenceClassification(BertPreTrainedModel):
    """BertModel without pooler, mean over the attention mask, one linear classifier.

    ``config.softmax_act`` ("softmax" or "2quad") selects the attention function and
    ``config.hidden_act`` ("gelu" or "quad") the FFN activation.
    """

    config_class = BertConfig

    def __init__(self, config: BertConfig) -> None:
        softmax_act = getattr(config, "softmax_act", "softmax")
        if softmax_act not in ("softmax", "2quad"):
            raise ValueError(f"unknown softmax_act {softmax_act!r}")
        config._attn_implementation = "2quad" if softmax_act == "2quad" else "sdpa"
        super().__init__(config)
        self.num_labels = config.num_labels
        self.bert = BertModel(config, add_pooling_layer=False)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool = False,
        **_: object,
    ) -> SequenceClassifierOutput:
        """Logits [B, labels] for ``input_ids`` and ``attention_mask`` of shape [B, T]."""
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        out = self.bert(
            input_ids=input_ids,
            attention_mask=attention_mask,
            output_hidden_states=output_hidden_states,
        )
        hidden = out.last_hidden_state.float()
        weight = attention_mask.unsqueeze(-1).to(hidden.dtype)
        pooled = (hidden * weight).sum(1) / weight.sum(1)
        logits = self.classifier(pooled)
        loss = None
        if labels is not None:
            loss = nn.functional.cross_entropy(logits.float(), labels)
        return SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=out.hidden_states)


def student_config(teacher: BertConfig) -> BertConfig:
    """Copy of the teacher's configuration with Quad and 2Quad, and without dropout."""
    values = teacher.to_dict()
    values.update(
        architectures=["BertMeanPoolForSequenceClassification"],
        hidden_act="quad",
        softmax_act="2quad",
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return BertConfig(**values)


def teacher_config(checkpoint: BertConfig) -> BertConfig:
    """Configuration of the two-class sentiment teacher built on a public checkpoint."""
    values = checkpoint.to_dict()
    values.update(
        architectures=["BertMeanPoolForSequenceClassification"],
        softmax_act="softmax",
        pooling="mean",
        num_labels=2,
        id2label={0: "NEGATIVE", 1: "POSITIVE"},
        label2id={"NEGATIVE": 0, "POSITIVE": 1},
    )
    return BertConfig(**values)


def freeze_embeddings(model: BertMeanPoolForSequenceClassification) -> list[nn.Parameter]:
    """Freeze everything under ``bert.embeddings`` and return the trainable parameters."""
    for parameter in model.bert.embeddings.parameters():
        parameter.requires_grad_(False)
    return [p for p in model.parameters() if p.requires_grad]
