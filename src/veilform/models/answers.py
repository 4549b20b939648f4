"""What a model's output says: a label with its score, or a sentence's vector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypedDict, TypeVar

import numpy as np
import numpy.typing as npt

from veilform.errors import ModelError
from veilform.models.bert.config import BertConfig

Output = npt.NDArray[np.floating[Any]]
Vector = npt.NDArray[np.float64]
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Task(Generic[_Answer]):
    """What a model is for.

    Attributes:
        name: Hugging Face's.
        answer: from one text's output (L,).
    """

    name: str
    answer: Callable[[Output, BertConfig], _Answer]

    def require(self, config: BertConfig) -> None:
        """Raises ModelError if the model is for another task."""
        fitting = CLASSIFICATION if config.classifies else EMBEDDING
        if self.name != fitting.name:
            raise ModelError(
                f"a {config.architecture} is for the task {fitting.name!r}, not for {self.name!r}"
            )


class Classified(TypedDict):
    """One text's answer, as Hugging Face's pipelines give it.

    ``score`` is a probability; for a model of ``problem_type`` "regression" it is its number.
    """

    label: str
    score: float


def classify(logits: Output, config: BertConfig) -> Classified:
    """The likeliest label and its score, from logits (L,).

    As in Hugging Face's TextClassificationPipeline: the number itself for a regression, a sigmoid
    for several labels at once or for one label, softmax for all else.
    """
    if config.problem_type == "regression":
        scores = logits
    elif config.problem_type == "multi_label_classification" or len(config.labels) == 1:
        scores = 0.5 * (1 + np.tanh(0.5 * logits))
    else:
        powers = np.exp(logits - logits.max())
        scores = powers / powers.sum()
    best = int(np.argmax(scores))
    return {"label": config.labels[best], "score": float(scores[best])}


def embed(row: Output, config: BertConfig) -> Vector:
    """A sentence's vector (D,): the mean of its last hidden states, not normalised."""
    return row.astype(np.float64)


CLASSIFICATION = Task("text-classification", classify)
EMBEDDING = Task("feature-extraction", embed)
TASKS: Mapping[str, Task[Any]] = {task.name: task for task in (CLASSIFICATION, EMBEDDING)}
