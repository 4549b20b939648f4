"""How fast a machine is: seconds for each kind of step, fitted to runs that were measured on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from veilform.errors import InputError
from veilform.plan.private.rehearse import KINDS, MESSAGE, Step, work
from veilform.plan.reading import read_json
from veilform.roles import Role

DEFAULT = "epyc-2-cores"
SWEEPS = 2000

Real = npt.NDArray[np.float64]


class Machine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Seconds of each kind of step: so many a step, and so many a unit.

    Attributes:
        name: what the machine is.
        start: seconds of any run besides its steps: to mark its stock used, to wake up.
        step: seconds of any step, whatever its units.
        unit: by kind, seconds a unit.
        offline: by kind of ``offline.KINDS``, seconds a unit of dealing and of preparing a stock.
        error: the mean relative error of the runs that it was fitted to.
    """

    name: str
    start: float
    step: float
    unit: dict[str, float]
    offline: dict[str, float] = {}
    error: float = 0.0

    def __post_init__(self) -> None:
        rates = [self.start, self.step, *self.unit.values(), *self.offline.values()]
        if not all(0 <= rate < 1e6 for rate in rates) or set(self.unit) != set(KINDS):
            raise ValueError(f"a machine has rates, none below zero, of {', '.join(KINDS)}")

    def seconds(self, kind: str, count: int, units: int) -> float:
        """Of ``count`` steps of a kind, with ``units`` together."""
        fixed = 0.0 if kind == MESSAGE else self.step
        return fixed * count + self.unit[kind] * units

    def computing(self, kinds: Mapping[str, tuple[int, int]]) -> float:
        """Of what `rehearse.work` gives for one operation, waking up for messages left out."""
        return sum(self.seconds(k, *counted) for k, counted in kinds.items() if k != MESSAGE)

    def shares(self, steps: Mapping[Role, Sequence[Step]], role: Role) -> dict[str, float]:
        """By operation: how much longer its steps take where the parties share one machine.

        The busier party's steps take as long as both parties' together.
        """
        own, other = work(steps[role]), work(steps[role.peer])
        found = {}
        for operation, kinds in own.items():
            mine, theirs = self.computing(kinds), self.computing(other.get(operation, {}))
            found[operation] = (mine + theirs) / max(mine, theirs) if mine + theirs else 1.0
        return found

    @classmethod
    def load(cls, path: str | Path | None = None) -> Machine:
        """Read from a file; without one, the machine that the published figures are of.

        Raises:
            InputError: there is no such file, or it is not a machine's.
        """
        what = "not a machine's file, as `veilform bench machine` writes it"
        if path is not None:
            return read_json(Path(path), cls, what)
        packed = resources.files("veilform.plan.private") / "machines" / f"{DEFAULT}.json"
        with resources.as_file(packed) as file:
            return read_json(file, cls, what)

    def save(self, path: Path) -> None:
        """Write it, as `load` reads it."""
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")


class Measured(NamedTuple):
    """What was measured of a run: its seconds, and how often each rate is in them.

    Attributes:
        counts: of ``start``, of ``step``, and of each kind in ``KINDS``.
    """

    counts: Sequence[float]
    seconds: float


def fit(rows: Sequence[Measured], name: str, offline: Mapping[str, float] | None = None) -> Machine:
    """The rates, none negative, that fit relative to the seconds measured.

    Raises:
        InputError: there are fewer rows than rates.
    """
    if len(rows) < len(KINDS) + 2:
        raise InputError(f"{len(rows)} measurements are too few for {len(KINDS) + 2} rates")
    table = np.array([row.counts for row in rows], np.float64)
    seconds = np.array([row.seconds for row in rows])
    rates = relative_rates(table, seconds)
    error = float(np.abs(table @ rates / seconds - 1).mean())
    start, step, *units = (float(rate) for rate in rates)
    unit = dict(zip(KINDS, units, strict=True))
    return Machine(name, start, step, unit, dict(offline or {}), error)


def relative_rates(counts: Real, seconds: Real) -> Real:
    """The rates, none negative, of the least errors of ``counts`` times them, over ``seconds``."""
    return least_squares(counts / seconds[:, None], np.ones(len(seconds)))


def least_squares(a: Real, b: Real) -> Real:
    """The x >= 0 of the least |a x - b|, by coordinates in turn.

    Source: Franc, Hlavac, Navara (CAIP 2005), Sequential coordinate-wise algorithm for NNLS.
    """
    scale = np.maximum(np.sqrt((a * a).sum(axis=0)), 1e-300)
    a = a / scale
    gram, slope = a.T @ a, -(a.T @ b)
    x = np.zeros(a.shape[1])
    for _ in range(SWEEPS):
        for k in range(len(x)):
            if gram[k, k] > 0:
                new = max(0.0, x[k] - slope[k] / gram[k, k])
                slope += (new - x[k]) * gram[:, k]
                x[k] = new
    found: Real = x / scale
    return found
