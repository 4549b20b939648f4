"""Predictions beside trials that somebody ran: errors, and how well the order agrees.

A file of trials is a JSON document with a list ``trials`` (and perhaps ``predicted``, strategies
that were not run): ``micro_batch``, ``tensor_parallel``, ``data_parallel``,
``pipeline_parallel``, ``cuts``, ``predicted_s``, ``measured_s`` (null: out of memory). Where
devices sit comes, if they do not stand in order, as ``placement`` (device of each rank, tp
fastest) or ``rank_map`` (ranks on each machine, a list or by its number).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from veilform.errors import InputError
from veilform.plan.parallel.cluster import Cluster
from veilform.plan.parallel.predict import Mode, Prediction, predict
from veilform.plan.parallel.profile import Floats, LayerProfile
from veilform.plan.parallel.settings import Setting
from veilform.plan.parallel.strategy import Strategy
from veilform.plan.reading import read_json

FIRST = 10


class Trial(msgspec.Struct, frozen=True):
    """A strategy with what was predicted and measured for it."""

    micro_batch: int
    tensor_parallel: int
    data_parallel: int
    pipeline_parallel: int
    cuts: tuple[int, ...]
    predicted_s: float | None = None
    measured_s: float | None = None
    placement: tuple[int, ...] | None = None
    rank_map: list[list[int]] | dict[str, list[int]] | None = None

    def strategy(self, profile: LayerProfile, cluster: Cluster) -> Strategy:
        """The strategy, its cuts in layers of this profile.

        Raises:
            InputError: it is none, or its ranks do not fit the cluster.
        """
        return Strategy(
            self.tensor_parallel,
            self.data_parallel,
            self.pipeline_parallel,
            self.micro_batch,
            _cuts(self.cuts, profile),
            self.placement or _devices(self.rank_map, cluster),
        )


class Trials(msgspec.Struct, frozen=True):
    """A file of trials."""

    trials: tuple[Trial, ...] = ()
    predicted: tuple[Trial, ...] = ()

    @property
    def listed(self) -> tuple[Trial, ...]:
        """Each strategy once, with what was measured where it was."""
        seen = {_key(each): each for each in self.predicted}
        return tuple((seen | {_key(each): each for each in self.trials}).values())


def read(path: Path) -> Trials:
    """Reads a file of trials.

    Raises:
        InputError: it cannot be read or lists none.
    """
    found = read_json(path, Trials, "no file of trials")
    if not found.listed:
        raise InputError(f"{path} lists no trials")
    return found


def replay(
    trials: Trials, setting: Setting, profile: LayerProfile, mode: Mode = "published"
) -> dict[str, Any]:
    """Predicts every listed strategy.

    Returns:
        ``n``: how many. ``max_abs_error``: from the listed predictions. ``spearman``: rank
        correlation with the measured times, of those that ran. ``top1_measured_s``: measured
        time of the first by our order, ``best_of_10_measured_s``: least of the first ten, both
        among the strategies that were run (null: out of memory). A strategy that does not fit
        in memory comes last in the order.
    """
    cluster = setting.cluster
    listed = trials.listed
    predictions = [
        predict(each.strategy(profile, cluster), profile, cluster, setting.global_batch, mode)
        for each in listed
    ]
    errors = [
        abs(ours.seconds - each.predicted_s)
        for each, ours in zip(listed, predictions, strict=True)
        if each.predicted_s is not None
    ]
    run = {_key(each) for each in trials.trials}
    pairs = [(o, t) for t, o in zip(listed, predictions, strict=True) if _key(t) in run]
    pairs.sort(key=lambda pair: _order(pair[0]))
    ran = [(ours.seconds, t.measured_s) for ours, t in pairs if t.measured_s is not None]
    ours_s, measured_s = (np.array([pair[i] for pair in ran]) for i in (0, 1))
    first = [t.measured_s for _, t in pairs[:FIRST] if t.measured_s is not None]
    return {
        "n": len(listed),
        "max_abs_error": max(errors, default=None),
        "spearman": spearman(ours_s, measured_s) if len(ran) > 1 else None,
        "top1_measured_s": pairs[0][1].measured_s if pairs else None,
        "best_of_10_measured_s": min(first, default=None),
    }


def spearman(one: Floats, other: Floats) -> float | None:
    """Rank correlation; equal values have their mean rank. None if all values are equal."""
    first, second = (ranks - ranks.mean() for ranks in (_ranks(one), _ranks(other)))
    length = float(np.sqrt((first @ first) * (second @ second)))
    return float(first @ second) / length if length else None


def _ranks(values: Floats) -> Floats:
    # Predictions that differ in rounding alone are equal.
    rounded = np.round(values, 9)
    below = (rounded[:, None] > rounded).sum(1)
    return below + ((rounded[:, None] == rounded).sum(1) - 1) / 2


def _order(ours: Prediction) -> tuple[bool, float]:
    return not ours.fits, round(ours.seconds, 9)


def _key(trial: Trial) -> tuple[object, ...]:
    return (
        trial.micro_batch,
        trial.tensor_parallel,
        trial.data_parallel,
        trial.pipeline_parallel,
        trial.cuts,
        trial.placement,
        str(trial.rank_map),
    )


def _cuts(listed: tuple[int, ...], profile: LayerProfile) -> tuple[int, ...]:
    """Cuts in layers of the profile.

    Listed ones may count only the layers that are not idle, or stop soon after the last of these.
    """
    layers = len(profile.layers)
    busy = np.flatnonzero(profile.column("idle") == 0)
    if not listed or listed[-1] == layers:
        return listed
    if listed[-1] == len(busy):
        return (0, *(int(busy[cut - 1]) + 1 for cut in listed[1:-1]), layers)
    if busy[-1] < listed[-1] < layers:
        return (*listed[:-1], layers)
    return listed


def _devices(
    rank_map: list[list[int]] | dict[str, list[int]] | None, cluster: Cluster
) -> tuple[int, ...]:
    """Device of each rank, from the ranks of each machine."""
    if rank_map is None:
        return ()
    try:
        by_node = (
            {int(node): ranks for node, ranks in rank_map.items()}
            if isinstance(rank_map, dict)
            else dict(enumerate(rank_map))
        )
    except ValueError:
        raise InputError("a rank_map names machines by their numbers") from None
    ranks = [rank for node in range(len(cluster.nodes)) for rank in by_node.get(node, [])]
    counts = [len(by_node.get(node, [])) for node in range(len(cluster.nodes))]
    if sorted(ranks) != list(range(cluster.size)) or counts != [n.count for n in cluster.nodes]:
        raise InputError("a rank_map does not give every device of the cluster one rank")
    return tuple(int(device) for device in np.argsort(ranks))
