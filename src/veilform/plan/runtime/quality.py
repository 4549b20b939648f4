"""How well a runtime model fits its samples, and whether a term for the cache is worth it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from veilform.errors import InputError
from veilform.plan.runtime import samples as timings
from veilform.plan.runtime.model import RuntimeModel, interpolate, regress
from veilform.plan.runtime.samples import Sample, Table

Alpha = Mapping[int, float]
MARGIN = 0.9
"""A second term must leave less than this part of the error on prompt sizes left out."""


def predictions(model: RuntimeModel, samples: Sequence[Sample]) -> npt.NDArray[np.float64]:
    """The model's seconds (N,) for the sizes of samples."""
    return np.array([model.estimate(p, o) for p, o, _ in samples])


def r2(model: RuntimeModel, samples: Sequence[Sample]) -> float:
    """1 - (sum of squared errors of T) / (sum of squares of T about its mean), over all samples."""
    seconds = timings.table(samples).seconds
    spread = float(((seconds - seconds.mean()) ** 2).sum())
    error = float(((seconds - predictions(model, samples)) ** 2).sum())
    if not spread:
        return 1.0 if not error else 0.0
    return 1 - error / spread


def relative_errors(model: RuntimeModel, samples: Sequence[Sample]) -> npt.NDArray[np.float64]:
    """abs(estimate - T) / T of each sample (N,)."""
    seconds = timings.table(samples).seconds
    return np.abs(predictions(model, samples) - seconds) / seconds


def sawtooth(alpha: Alpha, prompt_tokens: int) -> float:
    """The rule of the common public implementation, to compare with: alpha(next) p / next.

    ``next`` is the least profiled size of at least p. It has a tooth between each two sizes.
    """
    size = next((each for each in alpha if prompt_tokens <= each), max(alpha))
    return alpha[size] * prompt_tokens / size


def left_out_errors(alpha: Alpha, rule: Callable[[Alpha, int], float] = interpolate) -> list[float]:
    """Relative errors of alpha at each inner prompt size, told by ``rule`` from all others.

    The least and the greatest size have no neighbours on both sides: what is told of them would be
    an extrapolation, which an estimate refuses. They are never left out.
    """
    errors = []
    for size in list(alpha)[1:-1]:
        others = {p: seconds for p, seconds in alpha.items() if p != size}
        errors.append(abs(rule(others, size) - alpha[size]) / alpha[size])
    return errors


@dataclass(frozen=True)
class Quality:
    """One model on its samples. Errors are relative, as fractions.

    Attributes:
        mape: mean absolute error over all samples.
        leave_one_out_error: mean of :func:`left_out_errors`; None below three prompt sizes.
        left_out_rmse: root mean square error, in seconds, of T - alpha(p) at prompt sizes that the
            slopes have not seen, each left out once; None below two prompt sizes.
    """

    model: RuntimeModel
    r2: float
    mape: float
    leave_one_out_error: float | None
    left_out_rmse: float | None

    def to_json(self) -> dict[str, Any]:
        """Beta, alpha and the figures, as ``veilform runtime fit --json`` prints them."""
        return {
            "beta": self.model.beta,
            "alpha": {str(size): seconds for size, seconds in self.model.alpha.items()},
            "r2": self.r2,
            "mape": self.mape,
            "leave_one_out_error": self.leave_one_out_error,
            "left_out_rmse": self.left_out_rmse,
        }


@dataclass(frozen=True)
class Fits:
    """The published fit and the one with a term for a growing key-value cache.

    Attributes:
        cache: None where the sizes cannot tell the two slopes apart.
    """

    published: Quality
    cache: Quality | None

    @property
    def better(self) -> Quality:
        """The one with the term only if it predicts sizes left out better, and grows with them.

        On its own samples a second term always looks better; a negative one says nothing of a
        cache.
        """
        cache = self.cache
        if cache is None or cache.left_out_rmse is None or self.published.left_out_rmse is None:
            return self.published
        grows = cache.model.gamma > 0
        wins = cache.left_out_rmse < MARGIN * self.published.left_out_rmse
        return cache if grows and wins else self.published

    def to_json(self) -> dict[str, Any]:
        """The published fit's figures, and below ``cache`` the other one's."""
        document = self.published.to_json()
        alpha = self.published.model.alpha
        teeth = left_out_errors(alpha, sawtooth)
        document["sawtooth_error"] = float(np.mean(teeth)) if teeth else None
        document["better"] = "published" if self.better is self.published else "cache"
        document["cache"] = None
        if self.cache is not None:
            document["cache"] = {**self.cache.to_json(), "gamma": self.cache.model.gamma}
            del document["cache"]["alpha"]
        return document


def fit_both(samples: Sequence[Sample]) -> Fits:
    """Both fits of the same samples, each with its figures.

    Raises:
        InputError: as :meth:`RuntimeModel.fit`.
    """
    published = RuntimeModel.fit(samples)
    try:
        cache = RuntimeModel.fit(samples, cache=True)
    except InputError:
        # The published fit exists, so these sizes only fail to determine a second slope.
        return Fits(_quality(published, samples, False), None)
    return Fits(_quality(published, samples, False), _quality(cache, samples, True))


def _quality(model: RuntimeModel, samples: Sequence[Sample], cache: bool) -> Quality:
    errors = left_out_errors(model.alpha)
    return Quality(
        model,
        r2(model, samples),
        float(relative_errors(model, samples).mean()),
        float(np.mean(errors)) if errors else None,
        _left_out_rmse(timings.table(samples), model.alpha, cache),
    )


def _left_out_rmse(columns: Table, alpha: Alpha, cache: bool) -> float | None:
    squares: list[float] = []
    for size in alpha:
        out = columns.prompt == size
        kept = Table(*(column[~out] for column in columns))
        try:
            slopes = regress(kept, alpha, cache)
        except InputError:
            return None
        steps = columns.steps[out].astype(np.float64)
        terms = [steps, columns.contexts[out]] if cache else [steps]
        told = sum(slope * term for slope, term in zip(slopes, terms, strict=True))
        squares += ((columns.seconds[out] - alpha[size] - told) ** 2).tolist()
    return float(np.sqrt(np.mean(squares)))
