"""A ``transformers.Trainer`` whose loss is distillation's: layers, scores, logits, labels, ranges.

Everything else is the Trainer's: resuming, early stopping, reporting, bf16, GPUs, ``torchrun``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.data import Dataset, Sampler
from transformers import PreTrainedModel, Trainer, TrainingArguments

from veilform.distill.anatomy import layers
from veilform.distill.dataset import BucketSampler, Collator, Encoded
from veilform.distill.losses import attention_loss, hidden_loss, label_loss, logit_loss
from veilform.distill.watch import Watch
from veilform.quant.convert import is_step


@dataclass(frozen=True)
class Weights:
    """How much each loss counts; a zero is not computed.

    Attributes:
        embedding, hidden: squared error of the embedding's output, of every layer's output.
        attention: squared error of the attention scores.
        logits: divergence from the teacher's logits (squared error in regression).
        labels: the labels' own loss.
        ranges: penalty outside the ranges of private inference.
    """

    embedding: float = 0.0
    hidden: float = 0.0
    attention: float = 0.0
    logits: float = 0.0
    labels: float = 0.0
    ranges: float = 0.0

    @property
    def teacher(self) -> bool:
        """Whether any loss needs a teacher."""
        return any((self.embedding, self.hidden, self.attention, self.logits))

    @property
    def inner(self) -> bool:
        """Whether any loss is of what happens inside the model."""
        return any((self.embedding, self.hidden, self.attention, self.ranges))


class DistilTrainer(Trainer):
    """Trains ``model`` on ``weights``, with a teacher (kept in eval mode) where they ask for one.

    The evaluation loss is the divergence from the teacher if there is one, and the labels' loss
    otherwise; logits are computed in float32.
    """

    loss_is_scaled_for_ga = False

    def __init__(
        self,
        model: PreTrainedModel,
        args: TrainingArguments,
        weights: Weights,
        train: Encoded,
        dev: Encoded,
        collator: Collator,
        teacher: PreTrainedModel | None = None,
        compute_metrics: Callable[..., dict[str, float]] | None = None,
        callbacks: list | None = None,
    ) -> None:
        super().__init__(
            model=model, args=args, data_collator=collator, train_dataset=train, eval_dataset=dev,
            compute_metrics=compute_metrics, callbacks=callbacks,
        )  # fmt: skip
        if weights.teacher and teacher is None:
            raise ValueError("these losses need a teacher")
        self.model_accepts_loss_kwargs = False
        self.can_return_loss = True
        self.weights = weights
        self.teacher = None if teacher is None else teacher.to(args.device).eval()
        self.sums: dict[str, torch.Tensor] = {}
        self.steps = 0
        self._watch = Watch(layers(model)) if weights.attention or weights.ranges else None
        self._teacher_watch = (
            Watch(layers(teacher)) if teacher is not None and weights.attention else None
        )

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler:
        data = self.train_dataset if train_dataset is None else train_dataset
        return BucketSampler(data.lengths(), self.args.train_batch_size, self.args.seed)

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """As in the Trainer, less the steps of small integers, which are scales."""
        return [n for n in super().get_decay_parameter_names(model) if not is_step(n)]

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, object]:
        """The weighted sum of the losses of one batch."""
        texts = {name: value for name, value in inputs.items() if name != "labels"}
        mask, weights = inputs["attention_mask"], self.weights
        layered = bool(weights.hidden or weights.embedding)
        for watch in (self._watch, self._teacher_watch):
            if watch is not None:
                watch.clear()
        if weights.teacher:
            with torch.no_grad(), self.accelerator.autocast():
                target = self.teacher(**texts, output_hidden_states=layered)
        out = model(**texts, output_hidden_states=layered)
        losses: dict[str, torch.Tensor] = {}
        with torch.autocast(mask.device.type, enabled=False):
            if weights.embedding:
                pair = out.hidden_states[:1], target.hidden_states[:1]
                losses["embedding"] = hidden_loss(*pair, mask)
            if weights.hidden:
                pair = out.hidden_states[1:], target.hidden_states[1:]
                losses["hidden"] = hidden_loss(*pair, mask)
            if weights.attention:
                pair = self._watch.scores, self._teacher_watch.scores
                losses["attention"] = attention_loss(*pair, mask)
            if weights.logits:
                losses["logits"] = logit_loss(out.logits, target.logits)
            if weights.labels:
                losses["labels"] = label_loss(out.logits, inputs["labels"])
            if weights.ranges:
                losses["ranges"] = self._watch.penalty(mask)
            loss = sum(getattr(weights, name) * value for name, value in losses.items())
        if self._watch is not None:
            self._watch.clear()
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.detach().double()
        self.steps += 1
        return (loss, out) if return_outputs else loss

    def log(self, logs: dict[str, float], *args: object, **kwargs: object) -> None:
        """Adds the mean of each loss since the last report."""
        if "loss" in logs and self.steps:
            logs |= {name: round(float(value) / self.steps, 5) for name, value in self.sums.items()}
            self.sums, self.steps = {}, 0
        super().log(logs, *args, **kwargs)

    @torch.no_grad()
    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Evaluation loss, logits and labels of one batch."""
        inputs = self._prepare_inputs(inputs)
        labels = inputs.pop("labels")
        logits = model(**inputs).logits.float()
        if self._watch is not None:
            self._watch.clear()
        if self.teacher is None:
            loss = label_loss(logits, labels)
        else:
            loss = logit_loss(logits, self.teacher(**inputs).logits, heat=1.0)
        return (loss, None, None) if prediction_loss_only else (loss, logits, labels)

    def finish(self) -> None:
        """Takes the watches off both models, and bfloat16 out of the model's forward pass."""
        for watch in (self._watch, self._teacher_watch):
            if watch is not None:
                watch.remove()
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
