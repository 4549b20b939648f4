"""A model's own runtime from timings of a black-box interface (arXiv 2305.02440).

Such timings hold more than the model: network, queue, other people's requests. Contention only
adds, so the least of some trials is the nearest to none. What is left beside the model is taken to
be the same for every request, and a prompt of one token to cost what any later token costs:
T(1, 1) = overhead + beta.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from veilform.errors import InputError
from veilform.plan.runtime import samples as timings
from veilform.plan.runtime.model import RuntimeModel
from veilform.plan.runtime.samples import Sample


def least(samples: Iterable[Sample]) -> list[Sample]:
    """The fastest trial of each cell, by prompt and output size."""
    best: dict[tuple[int, int], float] = {}
    for prompt, output, seconds in samples:
        best[prompt, output] = min(seconds, best.get((prompt, output), seconds))
    return [Sample(*cell, seconds) for cell, seconds in sorted(best.items())]


def denoise(samples: Iterable[Sample]) -> RuntimeModel:
    """Beta, alpha and overhead from trials of a black box.

    Over the least of each cell, T(p, 1) for each prompt size and beta are fitted together by least
    squares, so that one disturbed cell does not decide an alpha. Then overhead = T(1, 1) - beta,
    not below 0, and alpha(p) = T(p, 1) - overhead, not below alpha(1). The public implementation
    takes one line for each prompt size instead of the common slope.

    Raises:
        InputError: no prompt of one token, one output size only, or timings that do not grow with
            the output.
    """
    columns = timings.table(least(samples))
    sizes = np.unique(columns.prompt)
    if sizes[0] != 1:
        raise InputError("no sample with a prompt of 1 token: the overhead is T(1, 1) - beta")
    # Each prompt size's mean is taken off both sides: what is left has the slope and no T(p, 1).
    at = np.searchsorted(sizes, columns.prompt)
    counts = np.bincount(at)
    mean_steps = np.bincount(at, columns.steps) / counts
    mean_seconds = np.bincount(at, columns.seconds) / counts
    steps = columns.steps - mean_steps[at]
    if not steps.any():
        raise InputError("every prompt size has one output size: time longer outputs, too")
    beta = float(steps @ (columns.seconds - mean_seconds[at]) / (steps @ steps))
    if beta < 0:
        raise InputError("the timings do not grow with the output: there is no runtime a token")
    first = mean_seconds - beta * mean_steps
    overhead = max(float(first[0]) - beta, 0.0)
    alpha = np.maximum(first, first[0]) - overhead
    return RuntimeModel(
        beta, dict(zip(sizes.tolist(), alpha.tolist(), strict=True)), overhead=overhead
    )
