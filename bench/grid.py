"""MPCFormer's grid on Rotten Tomatoes: five mixes of functions, three methods, one teacher.

    python bench/grid.py --teacher FOLDER --out FOLDER

Writes ``bench/results/grid_rotten_tomatoes.json`` after each cell and goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import TrainerCallback

from veilform.distill import data as text
from veilform.distill.dataset import Collator, Encoded
from veilform.distill.methods import METHODS, Recipe, make_student
from veilform.distill.stages import Settings
from veilform.distill.student import load_model

RESULTS = Path(__file__).parent / "results" / "grid_rotten_tomatoes.json"
MIXES = (
    ("quad", "2quad"),
    ("gelu", "2quad"),
    ("quad", "softmax"),
    ("quad", "2relu"),
    ("gelu", "2relu"),
)
FIRST = Recipe(stage1_epochs=6, stage2_epochs=1, label_epochs=3)
OTHERS = Recipe(stage1_epochs=2, stage2_epochs=1, label_epochs=3)
PIECES = 6300


class Log(TrainerCallback):
    """Prints what the Trainer reports, with seconds since the start."""

    def __init__(self) -> None:
        self.start = time.monotonic()

    def on_log(self, args, state, control, logs=None, **_):  # type: ignore[no-untyped-def]
        shown = {k: v for k, v in (logs or {}).items() if "per_second" not in k}
        print(f"{time.monotonic() - self.start:7.0f}s", f"{state.global_step}/{state.max_steps}",
              " ".join(f"{k}={v:.5g}" for k, v in shown.items() if isinstance(v, int | float)),
              flush=True)  # fmt: skip


def accuracy(prediction) -> dict[str, float]:  # type: ignore[no-untyped-def]
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


@torch.no_grad()
def score(model: torch.nn.Module, data: Encoded, collate: Collator) -> float:
    """Accuracy in float32."""
    right = 0
    for start in range(0, len(data), 64):
        rows = [data[i] for i in range(start, min(start + 64, len(data)))]
        batch = collate(rows)
        labels = batch.pop("labels")
        right += int((model(**batch).logits.argmax(-1) == labels).sum())
    return right / len(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    path = text.dataset_path()
    split = text.split_sentences(text.read_rows(path, "rotten_tomatoes"))
    reviews = text.without_leaks(text.read_rows(path, "imdb"), split)
    pieces = text.unlabelled_pieces(reviews, split)[:PIECES]
    tokenizer = Tokenizer.from_file(str(options.teacher / "tokenizer.json"))
    limit = text.MAX_TOKENS
    labelled = Encoded(tokenizer, split.train, limit)
    train = Encoded(tokenizer, [*split.train, *pieces], limit)
    dev = Encoded(tokenizer, split.validation, limit, sort=True)
    held = Encoded(tokenizer, split.held_out, limit, sort=True)
    collate = Collator()
    teacher = load_model(options.teacher)
    log = Log()
    results = json.loads(options.results.read_text()) if options.results.exists() else {"cells": []}
    results["data"] = {"train": len(labelled), "unlabelled": len(pieces), "dev": len(dev),
                       "held_out": len(held)}  # fmt: skip
    if "teacher" not in results:
        results["teacher"] = {"dev": score(teacher, dev, collate),
                              "held_out": score(teacher, held, collate)}  # fmt: skip
    print("teacher", results["teacher"], flush=True)
    done = {(c["act"], c["attention"], c["method"]) for c in results["cells"]}
    for act, attention in MIXES:
        for method in METHODS:
            if (act, attention, method) in done:
                continue
            recipe = FIRST if (act, attention) == MIXES[0] else OTHERS
            name = method.replace("/", "").replace(" ", "-").replace(",", "")
            folder = options.out / f"{act}-{attention}" / name
            print("cell", act, attention, method, flush=True)
            student, figures = make_student(
                teacher, act, attention, method, recipe, Settings(), train, labelled, dev,
                collate, accuracy, "accuracy", folder, callbacks=(log,),
            )  # fmt: skip
            student.save_pretrained(folder)
            tokenizer.save(str(folder / "tokenizer.json"))
            student = load_model(folder)
            figures["dev"] = score(student, dev, collate)
            figures["held_out"] = score(student, held, collate)
            (folder / "training.json").write_text(json.dumps(figures, indent=1) + "\n")
            print("cell", act, attention, method, "dev", figures["dev"], "held out",
                  figures["held_out"], "seconds", figures["seconds"], flush=True)  # fmt: skip
            kept = {k: figures[k] for k in ("act", "attention", "method", "start", "dev",
                                            "held_out", "seconds")}  # fmt: skip
            kept["curve"] = [p for s in figures["stages"] for p in s["curve"]]
            results["cells"].append(kept)
            options.results.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
