"""What a model's output says: a label with its score, or a sentence's vector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypedDict, TypeVar
from typing import Protocol as Interface

import numpy as np
import numpy.typing as npt

from veilform.errors import ModelError

Output = npt.NDArray[np.floating[Any]]
Vector = npt.NDArray[np.float64]
_Answer = TypeVar("_Answer")


class Answering(Interface):
    """What a model's config says of its outputs."""

    @property
    def architecture(self) -> str:
        """The name of what it is."""

    @property
    def task(self) -> str:
        """The name of the `Task` that it is for."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Of its outputs, in order; none if it does not classify."""

    @property
    def outputs(self) -> int:
        """Numbers that one input's output has."""

    @property
    def problem_type(self) -> str | None:
        """Hugging Face's: how logits are meant."""


@dataclass(frozen=True)
class Task(Generic[_Answer]):
    """What a model is for.

    Attributes:
        name: Hugging Face's.
        answer: from one input's output (L,).
    """

    name: str
    answer: Callable[[Output, Answering], _Answer]

    def require(self, config: Answering) -> None:
        """Raises ModelError if the model is for another task."""
        if self.name != config.task:
            raise ModelError(
                f"a {config.architecture} is for the task {config.task!r}, not for {self.name!r}"
            )


class Classified(TypedDict):
    """One input's answer, as Hugging Face's pipelines give it.

    ``score`` is a probability; for a model of ``problem_type`` "regression" it is its number.
    """

    label: str
    score: float


def rank(logits: Output, config: Answering) -> list[Classified]:
    """All labels with their scores, the likeliest first, from logits (L,).

    As in Hugging Face's pipelines of classification: the number itself for a regression, a sigmoid
    for several labels at once or for one label, softmax for all else.
    """
    if config.problem_type == "regression":
        scores = logits
    elif config.problem_type == "multi_label_classification" or len(config.labels) == 1:
        scores = 0.5 * (1 + np.tanh(0.5 * logits))
    else:
        powers = np.exp(logits - logits.max())
        scores = powers / powers.sum()
    order = np.argsort(-scores, kind="stable")
    return [{"label": config.labels[i], "score": float(scores[i])} for i in order]


def classify(logits: Output, config: Answering) -> Classified:
    """The likeliest label and its score, as `rank` has them."""
    return rank(logits, config)[0]


def embed(row: Output, config: Answering) -> Vector:
    """A sentence's vector (D,): the mean of its last hidden states, not normalised."""
    return row.astype(np.float64)


CLASSIFICATION = Task("text-classification", classify)
EMBEDDING = Task("feature-extraction", embed)
IMAGES = Task("image-classification", rank)
TASKS: Mapping[str, Task[Any]] = {task.name: task for task in (CLASSIFICATION, EMBEDDING, IMAGES)}
