"""Fine-tuning with small integers: seven methods by seeds, MiniLM-L6 on movie reviews.

    python bench/precision.py --out FOLDER                 Rotten Tomatoes, three seeds
    python bench/precision.py --out FOLDER --data imdb     IMDb: fp32 and hq+lss, one seed

Every cell's stage is kept under the folder; the figures of those that are finished are written to
bench/results/precision.json (precision_imdb.json) after each cell. Called again, it goes on where
it stopped; a cell whose figures are among the results is not run again, wherever it was run. The
settings are the paper's: batch 32, learning rate 2e-5, 3 epochs, steps at the same rate without
weight decay.
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
EPOCHS, LR, BATCH = 3, 2e-5, 32
SEEDS = (0, 1, 2)
IMDB_TRAIN = 10_000
# The paper's comparison first.
FIRST = ("fp32", "hq+lss", "lsq+luq")


def cells(data: str) -> list[tuple[str, int]]:
    """Method and seed of each cell, in order."""
    if data == "imdb":
        return [("fp32", 0), ("hq+lss", 0)]
    methods = [*FIRST, *(m for m in METHODS if m not in FIRST)]
    return [(method, seed) for seed in SEEDS for method in methods]


def folder_of(out: Path, data: str, method: str, seed: int) -> Path:
    """Where a cell's stage is kept."""
    return out / data / method.replace("+", "-") / str(seed)


def run(folder: Path, method: str, seed: int, splits, longest: int, bar: Bar) -> dict:
    """Fine-tune one model; its scores as it was trained, and with plain float weights."""
    settings = Settings(batch_size=BATCH, seed=seed, bf16=False)
    checkpoint = shipped.checkpoint_path()
    model = with_new_head(checkpoint, splits.task, seed)
    freeze_embeddings(model)
    convert(model, Policy.of(method))
    material = Material.encode(splits, load_tokenizer(checkpoint), longest, model.config)
    stage = Stage("labels", EPOCHS, LR, Weights(labels=1.0), by="accuracy")
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


def finished(data: str, results: Path) -> dict[tuple[str, int], dict]:
    """Figures of the cells that the results hold, by method and seed."""
    path = results / name_of(data)
    known = json.loads(path.read_text())["cells"] if path.exists() else []
    return {(cell["method"], cell["seed"]): cell for cell in known}


def collect(data: str, known: dict[tuple[str, int], dict]) -> dict:
    """Figures of the finished cells, and the means of each method."""
    found = [known[cell] for cell in cells(data) if cell in known]
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
        "learning_rate": LR,
        "batch": BATCH,
        "max_tokens": reviews.MAX_TOKENS[data],
        "embeddings": "frozen",
        "cells_left": len(cells(data)) - len(found),
        "means": means,
        "cells": found,
    }


def name_of(data: str) -> str:
    """The file of the figures."""
    return "precision.json" if data == "rotten_tomatoes" else f"precision_{data}.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", choices=list(reviews.MAX_TOKENS), default="rotten_tomatoes")
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
    known = finished(options.data, options.results)
    for method, seed in cells(options.data):
        if (method, seed) in known:
            continue
        console.print(f"cell {method} seed {seed}", highlight=False)
        folder = folder_of(options.out, options.data, method, seed)
        figures = run(folder, method, seed, splits, longest, bar)
        console.print(f"cell {method} seed {seed}: {figures['scores']}", highlight=False)
        known[method, seed] = figures
        command = f"python bench/precision.py --data {options.data} --out FOLDER"
        path = options.results / name_of(options.data)
        machine.save(path, command, collect(options.data, known))


if __name__ == "__main__":
    main()
