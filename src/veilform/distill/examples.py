"""What a data set is made of, and how labels become numbers. Nothing here needs PyTorch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from veilform.errors import InputError

UNLABELLED = -100
"""The label of a text that has none; losses on labels leave it out."""


@dataclass(frozen=True)
class Example:
    """One text, or a pair, with its label: a class, a number, or ``UNLABELLED``."""

    text: str
    label: int | float
    pair: str | None = None


@dataclass(frozen=True)
class Row:
    """One example as its file has it; ``place`` says where, for error messages."""

    text: str
    label: str
    place: str
    pair: str | None = None


@dataclass(frozen=True)
class Task:
    """What is to be predicted.

    Attributes:
        labels: names of the classes in order; None: a number.
        metrics: the first one chooses the best epoch.
    """

    name: str
    labels: tuple[str, ...] | None
    metrics: tuple[str, ...]

    @property
    def outputs(self) -> int:
        """Columns of the logits."""
        return len(self.labels) if self.labels else 1


@dataclass(frozen=True)
class Splits:
    """A task's examples: to learn from, to choose the best epoch with, and held out."""

    task: Task
    train: list[Example]
    dev: list[Example]
    test: list[Example] = field(default_factory=list)
    unlabelled: list[Example] = field(default_factory=list)


def class_names(rows: Sequence[Row]) -> tuple[str, ...]:
    """The labels that occur, in numeric order where all are whole numbers, else by name.

    Raises:
        InputError: there are fewer than two.
    """
    names = {row.label for row in rows}
    if len(names) < 2:
        only = f"only {names.pop()!r}" if names else "none"
        raise InputError(f"the training data has {only} as label: at least two classes are needed")
    if all(name.lstrip("-").isdecimal() for name in names):
        return tuple(sorted(names, key=int))
    return tuple(sorted(names))


def label_rows(rows: Iterable[Row], labels: Sequence[str] | None) -> list[Example]:
    """Examples whose labels are positions in ``labels``, or numbers if that is None.

    Upper and lower case are the same; a label may also be given as its position.

    Raises:
        InputError: a label that is not known, or no number; the message says where.
    """
    numbers = {name.lower(): i for i, name in enumerate(labels or ())}
    positions = {str(i): i for i in range(len(numbers))}
    examples = []
    for row in rows:
        value: int | float | None
        if labels is None:
            value = _number(row.label)
            if value is None:
                raise InputError(f"{row.place}: the label {row.label!r} is no number")
        else:
            value = numbers.get(row.label.lower(), positions.get(row.label))
            if value is None:
                known = ", ".join(labels)
                raise InputError(f"{row.place}: unknown label {row.label!r}; known: {known}")
        examples.append(Example(row.text, value, row.pair))
    return examples


def renumber(splits: Splits, labels: Sequence[str] | None) -> Splits | None:
    """The splits with classes numbered as a model's ``labels`` are (None: it predicts a number).

    Names that only count (``LABEL_0`` of a model, ``0`` in data) take the other side's order.
    Returns None if the model is for something else.
    """
    ours = splits.task.labels
    if ours is None or labels is None:
        return splits if ours is None and labels is None else None
    if len(ours) != len(labels):
        return None
    lowered = [name.lower() for name in labels]
    if all(name.startswith("label_") for name in lowered):
        return splits
    task = replace(splits.task, labels=tuple(labels))
    if ours == tuple(str(i) for i in range(len(ours))):
        return replace(splits, task=task)
    if sorted(lowered) != sorted(name.lower() for name in ours):
        return None
    order: dict[float, int] = {i: lowered.index(name.lower()) for i, name in enumerate(ours)}
    order[UNLABELLED] = UNLABELLED

    def part(examples: list[Example]) -> list[Example]:
        return [replace(example, label=order[example.label]) for example in examples]

    return Splits(
        task, part(splits.train), part(splits.dev), part(splits.test), part(splits.unlabelled)
    )


def default_metrics(labels: Sequence[str] | None) -> tuple[str, ...]:
    """The metrics of a task without a convention of its own."""
    return ("accuracy", "f1", "matthews") if labels else ("spearman", "pearson")


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
