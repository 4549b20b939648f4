"""MPCFormer's comparison: mixes of functions by methods, one teacher, on movie reviews.

    python bench/grid.py --out FOLDER                  Rotten Tomatoes: five mixes, three methods
    python bench/grid.py --out FOLDER --data imdb      IMDb: quad and 2quad, three methods

Every student is kept under the folder, with its curves and model card. The figures of those that
are there are written to bench/results/grid_DATA.json after each cell. Called again, it goes on
where it stopped. Two calls, with --only full and --only labels, share the work of two cores best.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
import transformers
from rich.console import Console

from veilform.bench import machine
from veilform.distill import reviews, shipped
from veilform.distill.methods import METHODS, Recipe
from veilform.distill.progress import Bar
from veilform.distill.run import FIGURES, Job, distil, fine_tune
from veilform.distill.stages import Settings

RESULTS = Path(__file__).parent / "results"
MIXES = (
    ("quad", "2quad"),
    ("gelu", "2quad"),
    ("quad", "softmax"),
    ("quad", "2relu"),
    ("gelu", "2relu"),
)
# Sized for two CPU cores: the hardest mix gets the most epochs.
RECIPES = {
    "rotten_tomatoes": (
        Recipe(stage1_epochs=6, stage2_epochs=1, label_epochs=6),
        Recipe(stage1_epochs=2, stage2_epochs=1, label_epochs=3),
    ),
    "imdb": (Recipe(stage1_epochs=3, stage2_epochs=1, label_epochs=2),),
}
PIECES = 6300
IMDB_TRAIN = 10_000
TEACHER_EPOCHS = 2


def cells(data: str) -> list[tuple[str, str, str, Recipe]]:
    """Activation, attention function, method and recipe of each student."""
    mixes = MIXES if data == "rotten_tomatoes" else MIXES[:1]
    recipes = RECIPES[data]
    found = []
    for i, (act, attention) in enumerate(mixes):
        recipe = recipes[0] if i == 0 else recipes[-1]
        for method in METHODS:
            # Random weights need a larger rate than a teacher's, which it would destroy.
            chosen = recipe.but(label_lr=1e-4) if method == "w/o p,d" else recipe
            found.append((act, attention, method, chosen))
    return found


def folder_of(out: Path, act: str, attention: str, method: str) -> Path:
    """Where a cell's student is kept."""
    return out / f"{act}-{attention}" / method.replace("/", "").replace(" ", "-").replace(",", "")


def collect(data: str, out: Path) -> dict:
    """Figures of the cells that are finished."""
    found = []
    document: dict = {}
    for act, attention, method, _ in cells(data):
        path = folder_of(out, act, attention, method) / FIGURES
        if not path.exists():
            continue
        figures = json.loads(path.read_text())
        student = figures["student"]
        document = {
            "data": data,
            "max_tokens": figures["max_tokens"],
            "examples": figures["examples"],
            "teacher": figures["teacher"]["scores"],
        }
        found.append(
            {
                "act": act,
                "attention": attention,
                "method": method,
                "start": student["start"],
                "scores": student["scores"],
                "training_seconds": student["seconds"],
                "curve": [
                    {"stage": stage["stage"]["name"], **point}
                    for stage in student["stages"]
                    for point in stage["curve"]
                ],
            }
        )
    return {**document, "cells": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", choices=list(RECIPES), default="rotten_tomatoes")
    parser.add_argument("--teacher", type=Path, help="its folder; without it one is made")
    parser.add_argument("--only", choices=["full", "labels"], help="only these methods")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    transformers.utils.logging.disable_progress_bar()
    console, settings = Console(), Settings()
    bar = Bar(console)
    longest = reviews.MAX_TOKENS[options.data]
    if options.data == "imdb":
        splits = reviews.load("imdb", limit=IMDB_TRAIN)
    else:
        splits = reviews.load("rotten_tomatoes", PIECES)
    teacher = options.teacher or options.out / "teacher"
    if not (teacher / "config.json").exists():
        if options.data == "imdb":
            job = Job(shipped.checkpoint_path(), options.out, max_tokens=longest,
                      teacher_epochs=TEACHER_EPOCHS, settings=settings)  # fmt: skip
            fine_tune(job, splits, (bar,))
        else:
            shipped.make_teacher(splits, teacher, settings, (bar,))
    for act, attention, method, recipe in cells(options.data):
        folder = folder_of(options.out, act, attention, method)
        skipped = options.only and (method == "full") != (options.only == "full")
        if skipped or (folder / FIGURES).exists():
            continue
        console.print(f"cell {act} {attention} {method}", highlight=False)
        job = Job(teacher, folder, act, attention, method, max_tokens=longest, recipe=recipe,
                  settings=settings)  # fmt: skip
        figures = distil(job, splits, (bar,))
        console.print(f"cell {act} {attention} {method}: {figures['student']['scores']}")
        write(options.data, options.out, options.results)
    write(options.data, options.out, options.results)


def write(data: str, out: Path, results: Path) -> None:
    """The figures of all cells that are there."""
    figures = collect(data, out)
    machine.save(
        results / f"grid_{data}.json", f"python bench/grid.py --data {data} --out FOLDER", figures
    )


if __name__ == "__main__":
    main()
