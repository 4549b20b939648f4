"""The data of a training: encoded once, batched alike, scored alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import EvalPrediction, PretrainedConfig, PreTrainedModel

from veilform.distill import metrics
from veilform.distill.dataset import Collator, Encoded
from veilform.distill.examples import Example, Splits, Task


@dataclass
class Material:
    """A task's data, encoded by the teacher's tokenizer.

    Attributes:
        labelled: what labels teach; ``train`` may hold unlabelled texts besides.
        dev, test: shortest first.
    """

    task: Task
    tokenizer: Tokenizer
    collator: Collator
    labelled: Encoded
    train: Encoded
    dev: Encoded
    test: Encoded

    @classmethod
    def encode(
        cls, splits: Splits, tokenizer: Tokenizer, max_tokens: int, config: PretrainedConfig
    ) -> Material:
        """Tokens of all splits, cut to ``max_tokens``, for models with this config."""
        collator = Collator(
            pad=getattr(config, "pad_token_id", None) or 0,
            regression=splits.task.labels is None,
            types=getattr(config, "type_vocab_size", 1) > 1,
        )

        def part(examples: Sequence[Example], sort: bool = False) -> Encoded:
            return Encoded(tokenizer, examples, max_tokens, sort)

        labelled = part(splits.train)
        train = part([*splits.train, *splits.unlabelled]) if splits.unlabelled else labelled
        dev, test = part(splits.dev, sort=True), part(splits.test, sort=True)
        return cls(splits.task, tokenizer, collator, labelled, train, dev, test)

    def judge(self, prediction: EvalPrediction) -> dict[str, float]:
        """The task's metrics of a Trainer's predictions."""
        return metrics.scores(self.task.metrics, prediction.predictions, prediction.label_ids)

    def scores(self, model: PreTrainedModel) -> dict[str, dict[str, float]]:
        """The task's metrics on dev and test, in float32."""
        parts = {"dev": self.dev, "test": self.test}
        return {
            name: metrics.scores(self.task.metrics, *predict(model, data, self.collator))
            for name, data in parts.items()
            if len(data)
        }


@torch.no_grad()
def predict(
    model: PreTrainedModel, data: Encoded, collator: Collator, batch: int = 64
) -> tuple[NDArray[np.float32], NDArray[np.generic]]:
    """Logits (N, outputs) in float32 and labels (N,), in the data's order."""
    model.eval()
    logits, labels = [], []
    for start in range(0, len(data), batch):
        rows = collator([data[i] for i in range(start, min(start + batch, len(data)))])
        labels.append(rows.pop("labels").numpy())
        inputs = {name: value.to(model.device) for name, value in rows.items()}
        logits.append(model(**inputs).logits.float().cpu().numpy())
    return np.concatenate(logits), np.concatenate(labels)
