"""Fine-tuning with small integers: seven methods by seeds, MiniLM-L6 on movie reviews.

    python bench/precision.py --out FOLDER                 Rotten Tomatoes, three seeds
    python bench/precision.py --out FOLDER --lr 2e-5       one seed, at the paper's learning rate
    python bench/precision.py --out FOLDER --data imdb     IMDb: fp32 and hq+lss, one seed

Every cell's stage is kept under the folder; the figures of those that are finished are written to
bench/results/precision.json (precision_lr2e-05.json, precision_imdb.json) after each cell. Called
again, it goes on where it stopped; a cell whose figures are among the results is not run again,
wherever it was run. The settings are the paper's, batch 32, 3 epochs, steps at the weights' rate
without weight decay, but for the learning rate: docs/quantization.md says why.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

import torch
import transformers
from rich.console import Console

from veilform.bench import machine
from veilform.distill import reviews, shipped
from veilform.distill.material import Material
from veilform.distill.progress import Bar
from veilform.distill.stages import Settings, Stage, run_stage
from veilform.distill.student import freeze_embeddings
from veilform.distill.teacher import load_tokenizer, with_new_head
from veilform.distill.trainer import Weights
from veilform.quant import METHODS, Policy
from veilform.quant.convert import convert, to_float

RESULTS = Path(__file__).parent / "results"
EPOCHS, LR, BATCH = 3, 5e-5, 32
SEEDS = (0, 1, 2)
IMDB_TRAIN = 2_000
# The paper's comparison first.
FIRST = ("fp32", "hq+lss", "lsq+luq")


def cells(data: str, lr: float) -> list[tuple[str, int]]:
    """Method and seed of each cell, in order."""
    if data == "imdb":
        return [("fp32", 0), ("hq+lss", 0)]
    others = [method for method in METHODS if method not in FIRST]
    seeds = SEEDS if lr == LR else SEEDS[:1]
    return [(method, seed) for group in (FIRST, others) for seed in seeds for method in group]


def name_of(data: str, lr: float) -> str:
    """Of a comparison: its figures' file, and its folder."""
    name = "precision" if data == "rotten_tomatoes" else f"precision_{data}"
    return name if lr == LR else f"{name}_lr{lr:g}"


def run(folder: Path, method: str, seed: int, lr: float, splits, longest: int, bar: Bar) -> dict:
    """Fine-tune one model; its scores as it was trained, and with plain float weights."""
    settings = Settings(batch_size=BATCH, seed=seed, bf16=False)
    checkpoint = shipped.checkpoint_path()
    model = with_new_head(checkpoint, splits.task, seed)
    freeze_embeddings(model)
    convert(model, Policy.of(method))
    material = Material.encode(splits, load_tokenizer(checkpoint), longest, model.config)
    stage = Stage("labels", EPOCHS, lr, Weights(labels=1.0), by="accuracy")
    result = run_stage(stage, settings, model, material, folder, None, (bar,))
    model.eval()
    trained = material.scores(model)
    exported = material.scores(to_float(model))
    return {
        "method": method,
        "seed": seed,
        "scores": trained,
        "exported": exported,
        "curve": result["curve"],
        "seconds": result["seconds"],
        "resumed": result["resumed"],
        "threads": torch.get_num_threads(),
    }


def finished(path: Path) -> dict[tuple[str, int], dict]:
    """Figures of the cells that a file of results holds, by method and seed."""
    known = json.loads(path.read_text())["cells"] if path.exists() else []
    return {(cell["method"], cell["seed"]): cell for cell in known}


def collect(data: str, lr: float, known: dict[tuple[str, int], dict]) -> dict:
    """Figures of the finished cells, and the means of each method."""
    wanted = cells(data, lr)
    found = [known[cell] for cell in wanted if cell in known]
    means = {}
    for method in dict.fromkeys(cell["method"] for cell in found):
        values = [c["scores"]["test"]["accuracy"] for c in found if c["method"] == method]
        means[method] = {
            "seeds": len(values),
            "test_accuracy": round(statistics.mean(values), 5),
            "deviation": round(statistics.stdev(values), 5) if len(values) > 1 else None,
        }
    return {
        "data": data,
        "model": "MiniLM-L6",
        "epochs": EPOCHS,
        "learning_rate": lr,
        "batch": BATCH,
        "max_tokens": reviews.MAX_TOKENS[data],
        "embeddings": "frozen",
        "cells_left": len(wanted) - len(found),
        "means": means,
        "cells": found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", choices=list(reviews.MAX_TOKENS), default="rotten_tomatoes")
    parser.add_argument("--lr", type=float, default=LR, help=f"learning rate (default {LR:g})")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    transformers.utils.logging.disable_progress_bar()
    console = Console()
    bar = Bar(console)
    limit = IMDB_TRAIN if options.data == "imdb" else None
    splits = reviews.load(options.data, limit=limit)
    longest = reviews.MAX_TOKENS[options.data]
    name = name_of(options.data, options.lr)
    path = options.results / f"{name}.json"
    command = f"python bench/precision.py --data {options.data} --lr {options.lr:g} --out FOLDER"
    known = finished(path)
    for method, seed in cells(options.data, options.lr):
        if (method, seed) in known:
            continue
        console.print(f"cell {method} seed {seed}", highlight=False)
        folder = options.out / name / method.replace("+", "-") / str(seed)
        known[method, seed] = run(folder, method, seed, options.lr, splits, longest, bar)
        console.print(f"cell {method} seed {seed}: {known[method, seed]['scores']}")
        machine.save(path, command, collect(options.data, options.lr, known))


if __name__ == "__main__":
    main()
