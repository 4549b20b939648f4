"""Data sets as the command line names them: files, GLUE's tasks, movie reviews."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from veilform.distill import glue, reviews, tabular
from veilform.distill.examples import Splits, Task, default_metrics, label_rows, renumber
from veilform.errors import InputError


def named(name: str, folder: Path | None = None, pieces: int = 0) -> Splits:
    """A data set by name; ``folder`` holds GLUE's files, ``pieces`` is of ``reviews.load``.

    Raises:
        InputError: no such name, or its files cannot be read.
    """
    if name in glue.TASKS:
        return glue.load(name, folder)
    if name in reviews.MAX_TOKENS:
        return reviews.load(name, pieces)
    known = ", ".join((*glue.TASKS, *reviews.MAX_TOKENS))
    raise InputError(f"no data set is called {name!r}; known: {known}")


def for_model(source: str, labels: Sequence[str] | None, folder: Path | None = None) -> Splits:
    """A data set to evaluate a model on, with classes numbered as the model's ``labels``.

    ``source`` is a file, whose rows become the test part, or a name.

    Raises:
        InputError: it cannot be read, or has other labels than the model.
    """
    if Path(source).suffix not in tabular.SUFFIXES:
        splits = renumber(named(source, folder), labels)
        if splits is None:
            raise InputError(f"the model's labels are not those of {source}")
        return splits
    known = None if labels is None else tuple(labels)
    task = Task(Path(source).stem, known, default_metrics(known))
    return Splits(task, [], [], label_rows(tabular.read(Path(source)), known))
