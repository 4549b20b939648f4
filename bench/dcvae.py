"""DC-VAE and its baselines on Fashion-MNIST: four variants by three seeds, and sizes of the queue.

    python bench/dcvae.py --out FOLDER                the cells, one after another
    python bench/dcvae.py --out FOLDER --classifier   the classifier whose features are compared

A cell's training, sample grids and model are kept under the folder; a training that was cut goes on
from its last checkpoint. The figures of finished cells are written to bench/results/dcvae.json, and
grids to docs/figures, after each; a cell that the results hold is not run again. Images are padded
to 32 x 32, networks are narrow: see SIZES.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from veilform.bench import machine
from veilform.vision import fashion
from veilform.vision.dcvae import Config, classifier, variant
from veilform.vision.dcvae.evaluate import evaluate
from veilform.vision.dcvae.images import grid, write_png
from veilform.vision.dcvae.model import DCVAE

RESULTS = Path(__file__).parent / "results" / "dcvae.json"
FIGURES = Path(__file__).parents[1] / "docs" / "figures"
SEEDS = (0, 1, 2)
VARIANTS = ("dcvae", "vae", "vae-gan", "dcvae-set")
QUEUES = (128, 1024)
TRAIN, HELD_OUT = 20_000, 5_000
SIZES = {
    "channels": 1, "latent": 16, "generator": 16, "encoder": 16, "contrast": 32, "queue": 4096,
    "batch": 32, "every": 2, "steps": 6000, "rate": 5e-4, "bf16": True,
}  # fmt: skip
EPOCHS = 5


def cells() -> list[tuple[str, int, int]]:
    """Variant, size of the queue and seed of each cell, in order: what is compared first."""
    all_of_them = [(name, SIZES["queue"], seed) for seed in SEEDS for name in VARIANTS]
    all_of_them += [("dcvae", queue, 0) for queue in QUEUES]
    return sorted(all_of_them, key=lambda cell: cell[0] == "dcvae-set")


def config_of(name: str, queue: int, seed: int) -> Config:
    """A VAE has no discriminator, and its steps are all of encoder and generator."""
    sizes = {**SIZES, "queue": queue, "seed": seed}
    return variant(name, **(sizes | {"every": 1} if name == "vae" else sizes))


def run(folder: Path, config: Config, bar) -> tuple[DCVAE, dict]:
    """Train one model, or read it; its figures."""
    model_folder = folder / "model"
    images, labels = fashion.padded("train")
    images, labels = images[:TRAIN], labels[:TRAIN]
    if (model_folder / "seconds.json").exists():
        model = DCVAE.from_pretrained(model_folder)
        seconds = json.loads((model_folder / "seconds.json").read_text())
    else:
        start = time.process_time()
        begun = None

        def tell(report: dict) -> None:
            nonlocal begun
            begun = report["step"] if begun is None else begun
            used = time.process_time() - start
            bar({**{k: round(v, 3) for k, v in report.items()}, "cpu_seconds": round(used)})

        model = DCVAE(config)
        model.fit(images, folder, tell, reports=250, checkpoints=250, grids=1000)
        model.save_pretrained(model_folder)
        seconds = round(time.process_time() - start)
        (model_folder / "seconds.json").write_text(json.dumps(seconds))
    held_out = tuple(part[:HELD_OUT] for part in fashion.padded("test"))
    scores = evaluate(model, classifier.load(), (images, labels), held_out)
    figures = {name: round(float(value), 5) for name, value in scores._asdict().items()}
    return model, {"scores": figures, "cpu_seconds_of_last_run": seconds}


def draw(name: str, model: DCVAE) -> None:
    """Samples, and held-out images beside their reconstructions."""
    images = fashion.padded("test")[0][:32]
    pairs = np.stack([images, model.reconstruct(images)], 1).reshape(-1, *images.shape[1:])
    picture = grid(np.concatenate([model.sample(64), pairs]), 16)
    write_png(FIGURES / f"dcvae_{name}.png", picture)


def collect(known: dict) -> dict:
    """Figures of the finished cells, and the means of each variant."""
    found = [known[cell] for cell in cells() if cell in known]
    means = {}
    for name in VARIANTS:
        rows = [c["scores"] for c in found if (c["variant"], c["queue"]) == (name, SIZES["queue"])]
        if rows:
            means[name] = {"seeds": len(rows)} | {
                key: round(statistics.mean(row[key] for row in rows), 5) for key in rows[0]
            }
    return {
        "data": "Fashion-MNIST, padded to 32 x 32",
        "train": TRAIN,
        "held_out": HELD_OUT,
        "sizes": SIZES,
        "cells_left": len(cells()) - len(found),
        "means": means,
        "cells": found,
    }


def train_classifier() -> None:
    """Make its weights file; figures beside the others'."""
    images, labels = fashion.padded("train")
    held_out = fashion.padded("test")
    start = time.process_time()
    made = classifier.train(images, labels, EPOCHS)
    seconds = round(time.process_time() - start)
    classifier.save(made)
    accuracy = round(classifier.load().accuracy(*held_out), 4)
    figures = {"epochs": EPOCHS, "cpu_seconds": seconds, "accuracy": accuracy}
    figures["bytes"] = classifier.WEIGHTS.stat().st_size
    path = RESULTS.with_name("dcvae_classifier.json")
    machine.save(path, "python bench/dcvae.py --out FOLDER --classifier", figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--classifier", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.classifier:
        train_classifier()
        return
    content = json.loads(options.results.read_text()) if options.results.exists() else {}
    known = {(c["variant"], c["queue"], c["seed"]): c for c in content.get("cells", [])}
    for cell in cells():
        if cell in known:
            continue
        name, queue, seed = cell
        config = config_of(name, queue, seed)
        where = options.out / (name if queue == SIZES["queue"] else f"{name}-{queue}") / str(seed)
        label = f"{name} queue {queue} seed {seed}"
        model, figures = run(
            where, config, lambda told, label=label: print(label, told, flush=True)
        )
        print(label, figures["scores"], flush=True)
        if (queue, seed) == (SIZES["queue"], SEEDS[0]):
            draw(name, model)
        known[cell] = {"variant": name, "queue": queue, "seed": seed, **figures}
        machine.save(options.results, "python bench/dcvae.py --out FOLDER", collect(known))


if __name__ == "__main__":
    main()
