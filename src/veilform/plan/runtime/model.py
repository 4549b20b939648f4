"""T(p, o) = alpha(p) + beta (o - 1): seconds to generate o tokens after a prompt of p tokens.

alpha(p) is the time to read the prompt and give the first token; beta that of each later one.
Source: arXiv 2305.02440
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from veilform.errors import InputError
from veilform.plan.runtime import samples as timings
from veilform.plan.runtime.samples import Sample, Table

BETA, ALPHA = "runtime_per_output_token", "runtime_for_prompt_tokens"
OVERHEAD, GAMMA = "overhead", "runtime_per_context_token"
"""Keys of the published schema; the last is ours, and only there where it is not 0."""


@dataclass(frozen=True)
class RuntimeModel:
    """Runtime of one model on one system, batch 1.

    Attributes:
        beta: seconds for each output token after the first.
        alpha: seconds to the first token, by prompt size, ascending; linear in between.
        gamma: seconds for each token of context that a later output token attends to: the term of
            a growing key-value cache, 0 in the published model.
        overhead: seconds before anything is computed (network, queue, scheduling), part of every
            estimate; None where a model was timed itself, not through an interface.

    Raises:
        InputError: a number is not finite, or seconds that must be positive are not.
    """

    beta: float
    alpha: Mapping[int, float]
    gamma: float = 0.0
    overhead: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "alpha", dict(sorted(self.alpha.items())))
        if not self.alpha:
            raise InputError("a runtime model needs the runtime of at least one prompt size")
        if min(self.alpha) < 1:
            raise InputError("a runtime model's prompt sizes must be at least 1")
        seconds = [self.beta, self.overhead or 0.0, *self.alpha.values()]
        if not all(math.isfinite(each) and each >= 0 for each in seconds):
            raise InputError("a runtime model's seconds must be finite and not negative")
        if not math.isfinite(self.gamma):
            raise InputError("a runtime model's term for the context must be finite")

    @classmethod
    def fit(cls, samples: Iterable[Sample], cache: bool = False) -> RuntimeModel:
        """The published fit: alpha(p) = T(p, 1), then beta by least squares, all sizes pooled.

        Beta minimizes the sum of (T(p, o) - alpha(p) - beta (o - 1))^2, the line through the
        origin that the model itself says. Repeated cells all count; alpha is their mean.

        Args:
            cache: fit gamma beside beta.

        Raises:
            InputError: a prompt size without its T(p, 1), no output size but 1, timings that do
                not grow with the output, or (``cache``) sizes that cannot tell gamma from beta.
        """
        columns = timings.table(samples)
        alpha = _first_token(columns)
        slopes = regress(columns, alpha, cache)
        if slopes[0] < 0:
            raise InputError("the timings do not grow with the output: there is no runtime a token")
        return cls(float(slopes[0]), alpha, float(slopes[1]) if cache else 0.0)

    def estimate(self, prompt_tokens: int, output_tokens: int, extrapolate: bool = False) -> float:
        """Seconds from the prompt to the last output token.

        Args:
            extrapolate: beyond the profiled prompt sizes, extend the last (or first) line.

        Raises:
            InputError: no output token, or a prompt outside the profiled sizes without
                ``extrapolate``, or beyond it to a time that is not positive.
        """
        if prompt_tokens < 1 or output_tokens < 1:
            raise InputError("an estimate needs at least one prompt token and one output token")
        first = self._first(prompt_tokens, extrapolate)
        steps = output_tokens - 1
        contexts = float(timings.context_sum(prompt_tokens, output_tokens))
        return (self.overhead or 0.0) + first + self.beta * steps + self.gamma * contexts

    def _first(self, prompt_tokens: int, extrapolate: bool) -> float:
        sizes = list(self.alpha)
        if sizes[0] <= prompt_tokens <= sizes[-1]:
            return interpolate(self.alpha, prompt_tokens)
        if not extrapolate:
            raise InputError(
                f"a prompt of {prompt_tokens} tokens is outside the profiled sizes, {sizes[0]} to "
                f"{sizes[-1]}: profile it, or ask to extrapolate"
            )
        if len(sizes) < 2:
            raise InputError("one profiled prompt size is too few to extrapolate from")
        seconds = interpolate(self.alpha, prompt_tokens)
        if seconds <= 0:
            raise InputError(f"no positive time extrapolates to {prompt_tokens} prompt tokens")
        return seconds

    def to_json(self) -> dict[str, Any]:
        """This model in the published schema, ready for ``json``."""
        document: dict[str, Any] = {
            BETA: self.beta,
            ALPHA: {str(size): seconds for size, seconds in self.alpha.items()},
        }
        if self.gamma:
            document[GAMMA] = self.gamma
        if self.overhead is not None:
            document[OVERHEAD] = self.overhead
        return document

    @classmethod
    def from_json(cls, document: Any, what: str = "the model") -> RuntimeModel:
        """The model of :meth:`to_json`.

        Raises:
            InputError: a key is missing, or a value is no number.
        """
        if not isinstance(document, Mapping) or not isinstance(document.get(ALPHA), Mapping):
            raise InputError(f"{what} has no {ALPHA} by prompt size")
        if BETA not in document:
            raise InputError(f"{what} has no {BETA}")
        given = document.get(OVERHEAD)
        try:
            return cls(
                _number(document[BETA]),
                {int(size): _number(seconds) for size, seconds in document[ALPHA].items()},
                _number(document.get(GAMMA, 0.0)),
                None if given is None else _number(given),
            )
        except ValueError:
            raise InputError(f"{what} has something that is no number") from None
        except InputError as error:
            raise InputError(f"{what}: {error}") from None


def load(path: Path) -> dict[str, RuntimeModel]:
    """Models by name, of a JSON file in the published schema.

    Raises:
        InputError: the file cannot be read, is no JSON object, or a model of it is none.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path} is no JSON: {error}") from None
    if not isinstance(document, dict) or not document:
        raise InputError(f"{path} holds no models by name")
    return {
        name: RuntimeModel.from_json(each, f"{path}, {name}") for name, each in document.items()
    }


def save(path: Path, models: Mapping[str, RuntimeModel]) -> None:
    """Writes what :func:`load` reads."""
    document = {name: model.to_json() for name, model in models.items()}
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def interpolate(alpha: Mapping[int, float], prompt_tokens: int) -> float:
    """Alpha on the line between its neighbours; beyond the ends, on the last one."""
    sizes = list(alpha)
    if len(sizes) == 1:
        return alpha[sizes[0]]
    low, high = next(
        (pair for pair in pairwise(sizes) if prompt_tokens <= pair[1]), (sizes[-2], sizes[-1])
    )
    # In this form both ends give their own value exactly.
    weight = (prompt_tokens - low) / (high - low)
    return (1 - weight) * alpha[low] + weight * alpha[high]


def regress(columns: Table, alpha: Mapping[int, float], cache: bool) -> Any:
    """Beta, or beta and gamma: the slopes of T - alpha(p) by least squares, without a constant.

    Raises:
        InputError: the sizes do not determine them.
    """
    rest = columns.seconds - np.array([alpha[p] for p in columns.prompt.tolist()])
    steps = columns.steps.astype(np.float64)
    if not steps.any():
        raise InputError("every sample has one output token: time longer outputs, too")
    terms = np.stack([steps, columns.contexts] if cache else [steps], axis=1)
    scale = np.abs(terms).max(axis=0)
    slopes, _, rank, _ = np.linalg.lstsq(terms / scale, rest, rcond=None)
    if rank < terms.shape[1]:
        raise InputError("a term for the cache needs more than one prompt or longer output size")
    return slopes / scale


def _first_token(columns: Table) -> dict[int, float]:
    """T(p, 1) of each prompt size."""
    alpha = {}
    for size in sorted(set(columns.prompt.tolist())):
        first = columns.seconds[(columns.prompt == size) & (columns.output == 1)]
        if not len(first):
            raise InputError(
                f"no sample of {size} prompt tokens with 1 output token: alpha is T(p, 1)"
            )
        alpha[size] = float(first.mean())
    return alpha


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError
    return float(value)
