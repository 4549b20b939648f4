"""Measures a real generator over a grid of prompt and output sizes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

from veilform.errors import InputError
from veilform.plan.runtime.denoise import least
from veilform.plan.runtime.model import RuntimeModel
from veilform.plan.runtime.quality import Fits, fit_both, relative_errors
from veilform.plan.runtime.samples import Sample

Generate = Callable[[int, int], object]
"""Generates ``output_tokens`` tokens after a prompt of ``prompt_tokens``, batch 1, and returns when
the last one is there."""

Progress = Callable[[int, int], None]
"""Called with rounds done and rounds in all."""


def _silent(done: int, total: int) -> None:
    pass


@dataclass(frozen=True)
class Grid:
    """What to measure: each prompt size with each output size, and cells for the test only.

    Attributes:
        held_out: pairs of a prompt and an output size that no fit sees.

    Raises:
        InputError: a size below 1, no output size of 1 or no other, or a held-out cell that is
            fitted, too, or whose prompt is outside the profiled ones.
    """

    prompt_tokens: tuple[int, ...] = (1, 16, 32, 64, 128, 192, 256, 384, 512)
    output_tokens: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    held_out: tuple[tuple[int, int], ...] = ((48, 12), (96, 24), (160, 6), (224, 24), (448, 12))

    def __post_init__(self) -> None:
        sizes = [*self.prompt_tokens, *self.output_tokens, *(n for p in self.held_out for n in p)]
        if not self.prompt_tokens or min(sizes, default=0) < 1:
            raise InputError("a grid needs prompt and output sizes of at least 1")
        if 1 not in self.output_tokens or len(set(self.output_tokens)) < 2:
            raise InputError("a grid needs the output size 1, for alpha, and a longer one for beta")
        for prompt, output in self.held_out:
            if prompt in self.prompt_tokens and output in self.output_tokens:
                raise InputError(f"cell {prompt}x{output} is held out and in the grid")
            if not min(self.prompt_tokens) <= prompt <= max(self.prompt_tokens):
                raise InputError(f"held-out prompt size {prompt} is outside the grid's")

    @property
    def cells(self) -> tuple[tuple[int, int], ...]:
        """The cells to fit."""
        return tuple(product(sorted(set(self.prompt_tokens)), sorted(set(self.output_tokens))))

    @property
    def longest(self) -> int:
        """Tokens of the longest text: prompt and output."""
        return max(prompt + output for prompt, output in (*self.cells, *self.held_out))


@dataclass(frozen=True)
class Profile:
    """Timings of a grid: the least of each cell's trials, as in ``denoise.least``."""

    samples: tuple[Sample, ...]
    held_out: tuple[Sample, ...]

    def fits(self) -> Fits:
        """Both fits of the grid's own cells."""
        return fit_both(self.samples)

    def to_json(self) -> dict[str, Any]:
        """The fits' figures, and how far the better one is off at the held-out cells."""
        fits = self.fits()
        document = fits.to_json()
        better = fits.better.model
        document["held_out"] = [
            {
                "prompt_tokens": sample.prompt_tokens,
                "output_tokens": sample.output_tokens,
                "seconds": sample.seconds,
                "estimate": better.estimate(*sample[:2]),
                "error": error,
            }
            for sample, error in zip(
                self.held_out, held_out_errors(better, self.held_out), strict=True
            )
        ]
        errors = [cell["error"] for cell in document["held_out"]]
        document["held_out_error"] = max(errors, default=None)
        return document


def held_out_errors(model: RuntimeModel, samples: tuple[Sample, ...]) -> list[float]:
    """Relative errors of the estimates at cells that the fit has not seen."""
    return [float(each) for each in relative_errors(model, samples)] if samples else []


def profile(
    generate: Generate,
    grid: Grid | None = None,
    *,
    trials: int = 10,
    warmup: int = 1,
    clock: Callable[[], float] = time.perf_counter,
    progress: Progress = _silent,
) -> Profile:
    """Times every cell ``trials`` times and keeps the least.

    Rounds go over all cells, forth and back, so that a minute of other load on the machine falls on
    all of them and not on some. Other work only adds time: the least of the trials has the least.

    Args:
        grid: default: ``Grid()``.
        warmup: runs of each cell before, not counted: what is compiled, allocated or cached once
            for a shape is not part of the model.
        clock: seconds; a test may give its own.

    Raises:
        InputError: no trial, or a negative number of them.
    """
    if trials < 1 or warmup < 0:
        raise InputError("a profile needs at least one trial of each cell")
    grid = grid or Grid()
    cells = [*grid.cells, *grid.held_out]
    for _ in range(warmup):
        for prompt, output in cells:
            generate(prompt, output)
    timed = []
    for done in range(trials):
        progress(done, trials)
        for prompt, output in cells if done % 2 == 0 else reversed(cells):
            start = clock()
            generate(prompt, output)
            timed.append(Sample(prompt, output, clock() - start))
    progress(trials, trials)
    best = least(timed)
    apart = set(grid.held_out)
    return Profile(
        tuple(each for each in best if each[:2] not in apart),
        tuple(each for each in best if each[:2] in apart),
    )
