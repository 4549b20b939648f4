"""A model's answers on a data set, in the clear and privately, side by side."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from veilform.distill import metrics
from veilform.distill.cut import cut
from veilform.distill.examples import Example, Splits
from veilform.models import families
from veilform.models.checkpoint import model_digest
from veilform.serve.client import InferenceCost
from veilform.spread import answering
from veilform.spread.cluster import Cluster

Progress = Callable[[str, int, int], None]
"""Called with what is running, inputs done and inputs in all."""

_BATCH = 8
_PLAIN_BATCH = 32


def _silent(what: str, done: int, total: int) -> None:
    pass


@dataclass(frozen=True)
class Answers:
    """Logits (N, L) of the same inputs by one way of computing; NaN where there is no answer.

    Attributes:
        costs: number of inputs and cost of each private run, by padded length.
    """

    logits: npt.NDArray[np.float64]
    costs: dict[int, list[tuple[int, InferenceCost]]] = field(default_factory=dict)

    @property
    def answered(self) -> npt.NDArray[np.bool_]:
        """Which inputs have an answer (N,)."""
        return np.logical_not(np.isnan(self.logits).any(axis=1))


class Evaluator:
    """One model and its inputs, texts or images.

    Each is padded to its own length and they run in batches, which changes the cost, not the
    answers.

    Args:
        inputs: texts, pairs of them, or pictures.
        labels: of each input, numbered as the model's.
    """

    def __init__(self, folder: Path, inputs: Sequence[Any], labels: Sequence[int | float]) -> None:
        self._folder = folder
        self._clear = families.clear(folder, np.float64)
        self.encoder = self._clear.encoder
        self.encoded = self.encoder.encode(inputs)
        self.labels = np.array(labels)

    @classmethod
    def of_texts(cls, folder: Path, examples: Sequence[Example]) -> Evaluator:
        """Of texts, cut where the model's training cut them: a private run refuses longer ones."""
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        texts = [cut(tokenizer, example) for example in examples]
        return cls(folder, texts, [example.label for example in examples])

    def plain(self, progress: Progress = _silent) -> Answers:
        """Answers in float64, in this process."""
        logits = self._empty(len(self.encoded))
        done = 0
        for _, chosen in self._groups(len(self.encoded), _PLAIN_BATCH):
            logits[chosen] = self._clear.forward(
                self.encoder.pad([self.encoded[i] for i in chosen])
            )
            done += len(chosen)
            progress("plain", done, len(self.encoded))
        return Answers(logits)

    def private(
        self,
        count: int,
        progress: Progress = _silent,
        batch: int = _BATCH,
        where: answering.Where | None = None,
        cluster: Cluster | None = None,
    ) -> Answers:
        """Private answers of the first ``count`` inputs.

        Args:
            where: which service answers; by default dealer and server are started on this machine.
            cluster: whose workers are clients, each with a share of the inputs; by default this
                process is the only one.

        Raises:
            VeilformError: the service does not start, or a run broke off.
        """
        count = min(count, len(self.encoded))
        logits = self._empty(count)
        costs: defaultdict[int, list[tuple[int, InferenceCost]]] = defaultdict(list)
        done = 0
        where, digest = where or answering.own(str(self._folder)), model_digest(self._folder)
        groups = self._groups(count, batch)
        jobs = [[self.encoded[i] for i in chosen] for _, chosen in groups]
        answers = (
            answering.spread(cluster, where, digest, self.encoder, jobs)
            if cluster
            else answering.here(where, digest, jobs)
        )
        with contextlib.closing(answers):
            for number, runs in answers:
                length, chosen = groups[number]
                for run in runs:
                    logits[[chosen[i] for i in run.texts]] = run.logits
                    costs[length].append((len(run.texts), run.cost))
                done += len(chosen)
                progress("private", done, count)
        return Answers(logits, dict(sorted(costs.items())))

    def _groups(self, count: int, size: int) -> list[tuple[int, list[int]]]:
        groups: defaultdict[int, list[int]] = defaultdict(list)
        for number, encoded in enumerate(self.encoded[:count]):
            groups[self.encoder.pad([encoded]).shape.length].append(number)
        return [
            (length, members[first : first + size])
            for length, members in sorted(groups.items())
            for first in range(0, len(members), size)
        ]

    def _empty(self, count: int) -> npt.NDArray[np.float64]:
        return np.full((count, len(self._clear.config.labels)), np.nan)


def compare(
    names: Sequence[str],
    labels: npt.NDArray[np.generic],
    plain: Answers,
    private: Answers | None = None,
    unit: str = "text",
) -> dict[str, Any]:
    """Metrics of both sides and how far they agree.

    ``plain`` covers all inputs, ``private`` the first of them; ``plain_same`` are the plain metrics
    on the inputs that have a private answer.

    Args:
        unit: what an input is called in the figures' names.
    """
    figures: dict[str, Any] = {
        f"{unit}s": len(labels),
        "plain": metrics.scores(names, plain.logits, labels),
    }
    if private is None:
        return figures
    kept = np.flatnonzero(private.answered)
    ours, theirs, truth = private.logits[kept], plain.logits[kept], labels[kept]
    figures["private"] = {
        f"{unit}s": len(private.logits),
        "without_answer": len(private.logits) - len(kept),
    }
    if not len(kept):
        return figures
    figures["private"] |= {
        "scores": metrics.scores(names, ours, truth),
        "plain_same": metrics.scores(names, theirs, truth),
        "largest_logit_difference": float(np.abs(ours - theirs).max()),
        "mean_logit_difference": float(np.abs(ours - theirs).mean()),
        "by_length": {str(length): _means(runs, unit) for length, runs in private.costs.items()},
    }
    if ours.shape[1] > 1:
        figures["private"]["agreement"] = float((ours.argmax(1) == theirs.argmax(1)).mean())
    return figures


def _means(runs: list[tuple[int, InferenceCost]], unit: str) -> dict[str, float]:
    """Costs an input, of runs of several."""
    count = sum(many for many, _ in runs)
    names = ("online_seconds", "offline_seconds", "bytes_client_to_server",
             "bytes_server_to_client", "offline_bytes")  # fmt: skip
    means = {f"{name}_a_{unit}": sum(getattr(c, name) for _, c in runs) / count for name in names}
    return {f"{unit}s": count, **means, "messages_a_run": runs[0][1].messages}


def held_out(splits: Splits) -> list[Example]:
    """What a data set keeps for evaluation: its test part, or else its dev part."""
    return splits.test or splits.dev
