"""Scores of predictions, in NumPy: what the GLUE tasks and MPCFormer report.

Each takes predictions and truth of equal shape (N,) and returns a number in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def accuracy(predicted: ArrayLike, truth: ArrayLike) -> float:
    """Share of equal classes."""
    return float((np.asarray(predicted) == np.asarray(truth)).mean())


def f1(predicted: ArrayLike, truth: ArrayLike) -> float:
    """F1 of class 1 where there are two classes, else the mean of every class's F1.

    A class that neither occurs nor is predicted counts as 0, as in scikit-learn.
    """
    predicted, truth = np.asarray(predicted), np.asarray(truth)
    count = int(max(predicted.max(), truth.max())) + 1
    if count <= 2:
        return _f1_of(predicted, truth, 1)
    present = np.union1d(predicted, truth)
    return float(np.mean([_f1_of(predicted, truth, c) for c in present]))


def _f1_of(predicted: NDArray[np.generic], truth: NDArray[np.generic], positive: int) -> float:
    both = int(((predicted == positive) & (truth == positive)).sum())
    either = int((predicted == positive).sum()) + int((truth == positive).sum())
    return 2.0 * both / either if either else 0.0


def matthews(predicted: ArrayLike, truth: ArrayLike) -> float:
    """Matthews' correlation, for any number of classes; 0 if either side has one class only.

    Source: Gorodkin (2004), the R_K statistic: the correlation of one-hot vectors.
    """
    predicted, truth = np.asarray(predicted), np.asarray(truth)
    classes = np.union1d(predicted, truth)
    ours = (predicted[:, None] == classes).astype(np.float64)
    theirs = (truth[:, None] == classes).astype(np.float64)
    ours -= ours.mean(axis=0)
    theirs -= theirs.mean(axis=0)
    norm = np.sqrt((ours**2).sum() * (theirs**2).sum())
    return float((ours * theirs).sum() / norm) if norm > 0 else 0.0


def pearson(predicted: ArrayLike, truth: ArrayLike) -> float:
    """Correlation of two lists of numbers; 0 if either is constant."""
    x = np.asarray(predicted, np.float64)
    y = np.asarray(truth, np.float64)
    x, y = x - x.mean(), y - y.mean()
    norm = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / norm if norm > 0 else 0.0


def spearman(predicted: ArrayLike, truth: ArrayLike) -> float:
    """Correlation of ranks; equal values share the mean of their ranks."""
    return pearson(_ranks(predicted), _ranks(truth))


def _ranks(values: ArrayLike) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    last = counts.cumsum()
    return (last - (counts - 1) / 2)[inverse]


CLASSES = {"accuracy": accuracy, "f1": f1, "matthews": matthews}
NUMBERS = {"pearson": pearson, "spearman": spearman}


def scores(names: Sequence[str], logits: ArrayLike, labels: ArrayLike) -> dict[str, float]:
    """The metrics called ``names`` of a model's outputs.

    Args:
        logits: (N, classes); with one column it is the predicted number.
        labels: (N,) classes or numbers.
    """
    values = np.asarray(logits)
    numbers = values.shape[1] == 1
    predicted = values[:, 0] if numbers else values.argmax(axis=1)
    known = NUMBERS if numbers else CLASSES
    return {name: known[name](predicted, labels) for name in names}
