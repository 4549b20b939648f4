"""Private answers beside plain ones, on a model's held-out sentences, over three real processes.

    python bench/agreement.py                    500 sentences of the shipped student
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
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

import veilform
from veilform import kernels
from veilform.models.bert.plain import PlainBert
from veilform.models.checkpoint import resolve
from veilform.models.text import bucket
from veilform.serve.local import LocalService

TEACHER_FILE = "training.json"


def measure(model: str, count: int, batch: int, console: Console) -> dict[str, Any]:
    """Runs every sentence privately and in the clear."""
    folder = resolve(model)
    lines = (folder / "heldout.jsonl").read_text(encoding="utf-8").splitlines()[:count]
    rows = [json.loads(line) for line in lines]
    plain = PlainBert.load(folder, np.float64)
    labels = list(plain.config.labels)
    truth = np.array([labels.index(row["label"]) if row["label"] in labels else int(row["label"])
                      for row in rows])  # fmt: skip
    private_logits = np.zeros((len(rows), len(labels)))
    plain_logits = np.zeros_like(private_logits)
    costs: dict[int, list[Any]] = defaultdict(list)
    start = time.perf_counter()
    with LocalService(folder) as service, service.client() as client:
        encoder = client.side.public.encoder
        ids = encoder.encode([row["text"] for row in rows])
        groups: dict[int, list[int]] = defaultdict(list)
        for number, tokens in enumerate(ids):
            groups[bucket(len(tokens))].append(number)
        with Progress(console=console, disable=not console.is_terminal) as progress:
            task = progress.add_task("sentences", total=len(rows))
            for length, members in sorted(groups.items()):
                for first in range(0, len(members), batch):
                    chosen = members[first : first + batch]
                    padded = encoder.pad([ids[i] for i in chosen])
                    private_logits[chosen], cost = client.infer(padded)
                    plain_logits[chosen] = plain.forward(padded.ids, padded.mask, padded.types)
                    costs[length].append((len(chosen), cost))
                    progress.advance(task, len(chosen))
    private, clear = private_logits.argmax(1), plain_logits.argmax(1)
    return {
        "command": "python " + " ".join(sys.argv),
        "veilform": veilform.__version__,
        "model": model,
        "sentences": len(rows),
        "batch": batch,
        "agreement": float((private == clear).mean()),
        "largest_logit_difference": float(np.abs(private_logits - plain_logits).max()),
        "mean_logit_difference": float(np.abs(private_logits - plain_logits).mean()),
        "private_accuracy": float((private == truth).mean()),
        "plain_accuracy": float((clear == truth).mean()),
        **teacher(folder),
        "seconds": round(time.perf_counter() - start, 1),
        "python": platform.python_version(),
        "kernels": kernels.info(),
        "by_length": {
            str(length): {
                "sentences": sum(n for n, _ in group),
                "online_seconds_a_sentence": sum(c.online_seconds for _, c in group)
                / sum(n for n, _ in group),
                "offline_seconds_a_sentence": sum(c.offline_seconds for _, c in group)
                / sum(n for n, _ in group),
            }
            for length, group in sorted(costs.items())
        },
    }


def teacher(folder: Path) -> dict[str, float]:
    """Accuracies on the whole held-out part, as training measured them."""
    path = folder / TEACHER_FILE
    if not path.is_file():
        return {}
    figures = json.loads(path.read_text(encoding="utf-8"))
    return {
        f"trained_{name}": value
        for name, value in figures.get("accuracy", {}).items()
        if isinstance(value, int | float)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", default=veilform.DEFAULT_MODEL)
    parser.add_argument("--count", type=int, default=500, help="sentences (default 500)")
    parser.add_argument("--batch", type=int, default=8, help="sentences a run (default 8)")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    console = Console(stderr=True)
    figures = measure(options.model, options.count, options.batch, console)
    text = json.dumps(figures, indent=1)
    Console().print_json(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
