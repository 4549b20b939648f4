"""Rounds a matrix to small integers times a power of two for each column.

To the nearest, or, given the rows that it multiplies, so that their products change least: rows of
the matrix are rounded one after another, and what each loses is made good by those still to come
(Frantar et al., GPTQ, ICLR 2023, after Hassibi and Stork's Optimal Brain Surgeon, 1993).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from veilform.models.bert.bounds import Real

COMMON = 0.9
"""Of the columns, so many have the step that fits them; the rest have the finest of these."""
SPREAD = 3
"""Steps that are tried for a column, from the coarsest that clips nothing to finer ones."""
DAMPING = 0.01
"""Of the mean square of the rows' elements, added to each, so that no direction counts nothing."""
FINEST = 20
_LEAST = 1e-30
_TOGETHER = 64
"""Rows whose errors go to all later ones in one product."""


class Rounded(NamedTuple):
    """A matrix of small integers over powers of two.

    Attributes:
        weight: the values.
        scales: by column: the values are whole multiples of 2^-scale.
    """

    weight: Real
    scales: npt.NDArray[np.int64]


def nearest(weight: Real, bits: int, importance: Real | None = None) -> Rounded:
    """Each weight to its nearest.

    Args:
        weight: (in, out).
        importance: (in,): how much a row's errors count when a column's step is chosen.
    """
    scales = _scales(weight, bits, importance)
    return Rounded(_snap(weight, _steps(scales), bits), scales)


def compensated(weight: Real, bits: int, gram: Real) -> Rounded:
    """Weights for which x W changes least over the rows x.

    Args:
        weight: (in, out).
        gram: (in, in): the sum of x^T x over the rows that it will multiply.
    """
    mean = float(np.trace(gram)) / len(gram)
    damped = gram + np.eye(len(gram)) * max(DAMPING * mean, _LEAST)
    scales = _scales(weight, bits, np.diag(damped))
    steps = _steps(scales)
    # Rows that matter most come first, while there are others left to make good their errors.
    order = np.argsort(-np.diag(damped), kind="stable")
    inverse = np.linalg.inv(damped[np.ix_(order, order)])
    upper = np.linalg.cholesky((inverse + inverse.T) / 2).T
    left, rounded = weight[order].copy(), np.empty_like(weight)
    for start in range(0, len(left), _TOGETHER):
        end = min(start + _TOGETHER, len(left))
        errors = np.empty_like(left[start:end])
        for i in range(start, end):
            rounded[i] = _snap(left[i], steps, bits)
            errors[i - start] = (left[i] - rounded[i]) / upper[i, i]
            left[i + 1 : end] -= upper[i, i + 1 : end, None] * errors[i - start]
        left[end:] -= upper[start:end, end:].T @ errors
    back = np.empty_like(rounded)
    back[order] = rounded
    return Rounded(back, scales)


def _steps(scales: npt.NDArray[np.int64]) -> Real:
    found: Real = np.exp2(-scales.astype(np.float64))
    return found


def _snap(weight: Real, steps: Real, bits: int) -> Real:
    limit = 1 << (bits - 1)
    found: Real = np.clip(np.rint(weight / steps), -limit, limit - 1) * steps
    return found


def _scales(weight: Real, bits: int, importance: Real | None) -> npt.NDArray[np.int64]:
    """Each column's scale: of the least error, but not finer than most columns' are."""
    most = np.abs(weight).max(axis=0)
    fits = np.floor(np.log2(((1 << (bits - 1)) - 1) / np.maximum(most, _LEAST)))
    first = np.clip(fits, 0, FINEST).astype(np.int64)
    factor = np.ones(len(weight)) if importance is None else importance
    tried = np.stack([np.minimum(first + more, FINEST) for more in range(SPREAD)])
    errors = np.stack(
        [factor @ (weight - _snap(weight, _steps(scales), bits)) ** 2 for scales in tried]
    )
    best = np.take_along_axis(tried, errors.argmin(axis=0)[None], axis=0)[0]
    best[most == 0] = 0
    common = np.quantile(best, COMMON, method="lower")
    capped: npt.NDArray[np.int64] = np.minimum(best, int(common))
    return capped
