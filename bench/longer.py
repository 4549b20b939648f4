"""Goes on with the IMDb student of bench/grid.py: stage 1 on other reviews, without their labels.

    python bench/longer.py --out FOLDER     FOLDER as it was given to bench/grid.py --data imdb

Two epochs on the next 10,000 reviews in hash order, at half the rate of stage 1. The student is
kept under the folder, and its figures go to bench/results/longer_imdb.json.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
import transformers
from grid import IMDB_TRAIN, folder_of
from rich.console import Console

from veilform.bench import machine
from veilform.distill import reviews
from veilform.distill.material import Material
from veilform.distill.methods import Recipe
from veilform.distill.progress import Bar
from veilform.distill.run import save_model
from veilform.distill.stages import Settings, run_stage
from veilform.distill.student import freeze_embeddings, load_model
from veilform.distill.teacher import load_tokenizer

RESULTS = Path(__file__).parent / "results" / "longer_imdb.json"
EPOCHS, RATE = 2, 1e-4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    transformers.utils.logging.disable_progress_bar()
    before = folder_of(options.out, "quad", "2quad", "full")
    teacher, student = load_model(options.out / "teacher"), load_model(before)
    freeze_embeddings(student)
    splits = reviews.load("imdb", limit=2 * IMDB_TRAIN)
    splits = replace(splits, train=splits.train[IMDB_TRAIN:])
    tokenizer, longest = load_tokenizer(options.out / "teacher"), reviews.MAX_TOKENS["imdb"]
    material = Material.encode(splits, tokenizer, longest, teacher.config)
    (stage,) = Recipe(stage1_epochs=EPOCHS, stage1_lr=RATE, stage2_epochs=0).stages("full", "loss")
    folder = options.out / "quad-2quad" / "longer"
    result = run_stage(
        stage, Settings(), student, material, folder / "stages" / "layers", teacher,
        (Bar(Console()),),
    )  # fmt: skip
    save_model(student, tokenizer, longest, folder)
    figures = {
        "reviews": len(splits.train),
        "epochs": EPOCHS,
        "rate": RATE,
        "teacher": material.scores(teacher),
        "before": material.scores(load_model(before)),
        "scores": material.scores(student.eval()),
        "training_seconds": result["seconds"],
        "curve": result["curve"],
    }
    machine.save(options.results, "python bench/longer.py --out FOLDER", figures)


if __name__ == "__main__":
    main()
