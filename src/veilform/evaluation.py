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
from veilform.models.bert.plain import PlainBert
from veilform.models.checkpoint import model_digest
from veilform.models.text import TextEncoder, bucket
from veilform.serve.client import InferenceCost
from veilform.spread import answering
from veilform.spread.cluster import Cluster

Progress = Callable[[str, int, int], None]
"""Called with what is running, texts done and texts in all."""

_BATCH = 8
_PLAIN_BATCH = 32


def _silent(what: str, done: int, total: int) -> None:
    pass


@dataclass(frozen=True)
class Answers:
    """Logits (N, L) of the same texts by one way of computing; NaN where there is no answer.

    Attributes:
        costs: number of texts and cost of each private run, by padded length.
    """

    logits: npt.NDArray[np.float64]
    costs: dict[int, list[tuple[int, InferenceCost]]] = field(default_factory=dict)

    @property
    def answered(self) -> npt.NDArray[np.bool_]:
        """Which texts have an answer (N,)."""
        return np.logical_not(np.isnan(self.logits).any(axis=1))


class Evaluator:
    """One model and its texts.

    Texts are cut where the model's training cut them: a private run refuses longer ones. They are
    padded to their own length bucket and run in batches, which changes the cost, not the answers.

    Args:
        examples: their labels are numbered as the model's.
    """

    def __init__(self, folder: Path, examples: Sequence[Example]) -> None:
        self._folder = folder
        self.plain_model = PlainBert.load(folder, np.float64)
        self.encoder = TextEncoder.from_folder(folder)
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokens = self.encoder.encode([cut(tokenizer, example) for example in examples])
        self.labels = np.array([example.label for example in examples])

    def plain(self, progress: Progress = _silent) -> Answers:
        """Answers in float64, in this process."""
        logits = self._empty(len(self.tokens))
        done = 0
        for _, chosen in self._groups(len(self.tokens), _PLAIN_BATCH):
            batch = self.encoder.pad([self.tokens[i] for i in chosen])
            logits[chosen] = self.plain_model.forward(batch.ids, batch.mask, batch.types)
            done += len(chosen)
            progress("plain", done, len(self.tokens))
        return Answers(logits)

    def private(
        self,
        count: int,
        progress: Progress = _silent,
        batch: int = _BATCH,
        where: answering.Where | None = None,
        cluster: Cluster | None = None,
    ) -> Answers:
        """Private answers of the first ``count`` texts.

        Args:
            where: which service answers; by default dealer and server are started on this machine.
            cluster: whose workers are clients, each with a share of the texts; by default this
                process is the only one.

        Raises:
            VeilformError: the service does not start, or a run broke off.
        """
        count = min(count, len(self.tokens))
        logits = self._empty(count)
        costs: defaultdict[int, list[tuple[int, InferenceCost]]] = defaultdict(list)
        done = 0
        where, digest = where or answering.own(str(self._folder)), model_digest(self._folder)
        groups = self._groups(count, batch)
        jobs = [[self.tokens[i] for i in chosen] for _, chosen in groups]
        answers = (
            answering.spread(cluster, where, digest, jobs)
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
        for number, tokens in enumerate(self.tokens[:count]):
            groups[bucket(len(tokens), self.encoder.lengths())].append(number)
        return [
            (length, members[first : first + size])
            for length, members in sorted(groups.items())
            for first in range(0, len(members), size)
        ]

    def _empty(self, count: int) -> npt.NDArray[np.float64]:
        return np.full((count, len(self.plain_model.config.labels)), np.nan)


def compare(
    names: Sequence[str],
    labels: npt.NDArray[np.generic],
    plain: Answers,
    private: Answers | None = None,
) -> dict[str, Any]:
    """Metrics of both sides and how far they agree.

    ``plain`` covers all texts, ``private`` the first of them; ``plain_same`` are the plain metrics
    on the texts that have a private answer.
    """
    figures: dict[str, Any] = {
        "texts": len(labels),
        "plain": metrics.scores(names, plain.logits, labels),
    }
    if private is None:
        return figures
    kept = np.flatnonzero(private.answered)
    ours, theirs, truth = private.logits[kept], plain.logits[kept], labels[kept]
    figures["private"] = {
        "texts": len(private.logits),
        "without_answer": len(private.logits) - len(kept),
    }
    if not len(kept):
        return figures
    figures["private"] |= {
        "scores": metrics.scores(names, ours, truth),
        "plain_same": metrics.scores(names, theirs, truth),
        "largest_logit_difference": float(np.abs(ours - theirs).max()),
        "mean_logit_difference": float(np.abs(ours - theirs).mean()),
        "by_length": {str(length): _means(runs) for length, runs in private.costs.items()},
    }
    if ours.shape[1] > 1:
        figures["private"]["agreement"] = float((ours.argmax(1) == theirs.argmax(1)).mean())
    return figures


def _means(runs: list[tuple[int, InferenceCost]]) -> dict[str, float]:
    """Costs a text, of runs of several texts."""
    texts = sum(count for count, _ in runs)
    names = ("online_seconds", "offline_seconds", "bytes_client_to_server",
             "bytes_server_to_client", "offline_bytes")  # fmt: skip
    means = {f"{name}_a_text": sum(getattr(c, name) for _, c in runs) / texts for name in names}
    return {"texts": texts, **means, "messages_a_run": runs[0][1].messages}


def held_out(splits: Splits) -> list[Example]:
    """What a data set keeps for evaluation: its test part, or else its dev part."""
    return splits.test or splits.dev
