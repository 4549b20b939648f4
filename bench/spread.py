"""Private evaluation by one client, and by the workers of a local Ray cluster, one after the other.

    python bench/spread.py                                    100 sentences of the shipped student
    python bench/spread.py --json bench/results/spread.json   and the figures as JSON

Every worker starts a dealer and a server beside it, as the single client does. Times are from the
first text to the last, with the services' start; the cluster's own start is apart. The load is the
machine's over the last minute of each run: of two cores, more than about three is others' work.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import veilform
from veilform import kernels
from veilform.distill import sources
from veilform.evaluation import Answers, Evaluator, held_out
from veilform.models.bert.config import BertConfig
from veilform.models.checkpoint import resolve
from veilform.spread.cluster import Cluster


def timed(evaluator: Evaluator, count: int, cluster: Cluster | None) -> tuple[float, Answers]:
    """Seconds of the private answers, and the answers."""
    start = time.perf_counter()
    answers = evaluator.private(count, cluster=cluster)
    return time.perf_counter() - start, answers


def measure(model: str, count: int, workers: list[int]) -> dict[str, Any]:
    """One run alone and one with each number of workers."""
    folder = resolve(model)
    labels = BertConfig.read(folder).labels
    examples = held_out(sources.for_model(str(folder / "heldout.jsonl"), labels))[:count]
    evaluator = Evaluator.of_texts(folder, examples)
    rows = []
    alone, first = timed(evaluator, count, None)
    rows.append({"workers": None, "seconds": alone, "load": os.getloadavg()[0]})
    for number in workers:
        start = time.perf_counter()
        with Cluster(workers=number) as cluster:
            started = time.perf_counter() - start
            seconds, answers = timed(evaluator, count, cluster)
        same = bool((answers.logits.argmax(1) == first.logits.argmax(1)).all())
        rows.append(
            {
                "workers": number,
                "seconds": seconds,
                "cluster_start_s": started,
                "same_labels": same,
                "load": os.getloadavg()[0],
            }
        )
    return {
        "veilform": veilform.__version__,
        "model": model,
        "sentences": len(examples),
        "cores": os.cpu_count(),
        "kernels": kernels.info(),
        "rows": rows,
    }


def main() -> None:
    """Prints a row for each way, and writes the figures if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="minilm-l6-sentiment")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    figures = measure(given.model, given.count, given.workers)
    for row in figures["rows"]:
        print({name: round(v, 2) if isinstance(v, float) else v for name, v in row.items()})
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
