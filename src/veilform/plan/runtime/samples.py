"""Timings of text generation: how long some output tokens took after some prompt tokens."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from veilform.errors import InputError

COLUMNS = ("prompt_tokens", "output_tokens", "seconds")
MAX_TOKENS = 1 << 24
"""Far beyond any context: the sums of context lengths stay exact in float64."""


class Sample(NamedTuple):
    """One run, batch 1: ``seconds`` from the prompt to the last of ``output_tokens`` tokens."""

    prompt_tokens: int
    output_tokens: int
    seconds: float


class Table(NamedTuple):
    """Samples as columns of the same length (N,)."""

    prompt: npt.NDArray[np.int64]
    output: npt.NDArray[np.int64]
    seconds: npt.NDArray[np.float64]

    @property
    def steps(self) -> npt.NDArray[np.int64]:
        """Tokens generated after the first one."""
        return self.output - 1

    @property
    def contexts(self) -> npt.NDArray[np.float64]:
        """Sum of the context lengths that these steps attend to; see :func:`context_sum`."""
        return context_sum(self.prompt, self.output)


def context_sum(prompt: Any, output: Any) -> Any:
    """Step j of ``output - 1`` reads the keys and values of ``prompt + j`` tokens: their sum.

    Takes whole numbers, or arrays of them.
    """
    steps = output - 1.0
    return steps * prompt + steps * (steps + 1) / 2


def table(samples: Iterable[Sample]) -> Table:
    """Samples as columns.

    Raises:
        InputError: there is none; or a size is no whole number of at least 1, or a time is not a
            positive, finite number.
    """
    rows = [Sample(*row) for row in samples]
    if not rows:
        raise InputError("no samples: time some prompt and output sizes first")
    for number, row in enumerate(rows, start=1):
        _check(row, f"sample {number}")
    prompt, output, seconds = zip(*rows, strict=True)
    return Table(
        np.array(prompt, np.int64), np.array(output, np.int64), np.array(seconds, np.float64)
    )


def read_csv(path: Path) -> list[Sample]:
    """Samples of a CSV file with the columns ``COLUMNS``; others, as a deviation, are ignored.

    Raises:
        InputError: the file cannot be read, lacks a column or has no row, or a row is none.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            names = reader.fieldnames or ()
            missing = [each for each in COLUMNS if each not in names]
            if missing:
                raise InputError(
                    f"{path} has no column {' and no column '.join(missing)}; "
                    f"its first line must name {', '.join(COLUMNS)}"
                )
            samples = [_row(row, f"{path}, line {reader.line_num}") for row in reader]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no CSV file of text: {error}") from None
    if not samples:
        raise InputError(f"{path} has no samples below its first line")
    return samples


def write_csv(path: Path, samples: Sequence[Sample]) -> None:
    """Writes what :func:`read_csv` reads, seconds to the microsecond."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows((p, o, f"{seconds:.6f}") for p, o, seconds in samples)


def _row(row: dict[str, str | None], where: str) -> Sample:
    prompt, output, seconds = (row[name] for name in COLUMNS)
    try:
        sample = Sample(int(prompt or ""), int(output or ""), float(seconds or ""))
    except ValueError:
        given = ", ".join(str(each) for each in (prompt, output, seconds))
        raise InputError(f"{where}: {given} are not two whole numbers and seconds") from None
    _check(sample, where)
    return sample


def _check(sample: Sample, where: str) -> None:
    for name, size in zip(COLUMNS, sample[:2], strict=False):
        if not 1 <= size <= MAX_TOKENS or size != int(size):
            raise InputError(f"{where}: {name} is {size}; it must be a whole number from 1")
    if not math.isfinite(sample.seconds) or sample.seconds <= 0:
        raise InputError(f"{where}: seconds is {sample.seconds}; it must be positive and finite")
