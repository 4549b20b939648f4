"""The whole ``reviews`` recipe: teacher, closed-form start, distillation, export."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file, save_file

from . import data as text
from .calibrate import start_student
from .card import model_card
from .data import Encoded, Mixture
from .distil import distil, train_on_labels
from .export import load_student, save_examples, save_figures, save_student, save_tokenizer
from .loop import Journal, Plan, accuracy
from .ranges import observe
from .student import (
    BertMeanPoolForSequenceClassification,
    freeze_embeddings,
    student_config,
)
from .teacher import build_teacher, checkpoint_path, load_tokenizer

ENDINGS = 10000
FRESH_PER_EPOCH = 9000
ENDINGS_PLAN = Plan(epochs=1, lr=5e-5)
TEACHER_PLAN = Plan(epochs=2, lr=5e-5)
LABEL_PLAN = Plan(epochs=2, lr=5e-5)
CALIBRATION = 256
UNSEEN_PIECES = 3000


@dataclass
class Corpus:
    """Encoded parts of the data and the tokenizer."""

    split: text.Split
    reviews: list[text.Example]
    train: Encoded
    validation: Encoded
    held_out: Encoded

    @classmethod
    def load(cls) -> Corpus:
        """Read, split and tokenise the installed data."""
        path, tokenizer = text.dataset_path(), load_tokenizer(checkpoint_path())
        split = text.split_sentences(text.read_rows(path, "rotten_tomatoes"))
        reviews = text.without_leaks(text.read_rows(path, "imdb"), split)
        parts = (split.train, split.validation, split.held_out)
        return cls(split, reviews, *(Encoded(tokenizer, part) for part in parts))


def train_teacher(
    corpus: Corpus, out: Path, resume: bool
) -> tuple[BertMeanPoolForSequenceClassification, dict]:
    """IMDb endings with their review's label for one epoch, then Rotten Tomatoes sentences."""
    teacher = build_teacher(checkpoint_path())
    tokenizer = load_tokenizer(checkpoint_path())
    endings = text.labelled_endings(corpus.reviews, corpus.split, ENDINGS)
    first = train_on_labels(
        teacher,
        Encoded(tokenizer, endings),
        corpus.validation,
        ENDINGS_PLAN,
        out / "endings",
        resume,
    )
    second = train_on_labels(
        teacher, corpus.train, corpus.validation, TEACHER_PLAN, out / "teacher", resume
    )
    teacher.eval()
    return teacher, {
        "endings": first["curve"],
        "curve": second["curve"],
        "seconds": round(first["seconds"] + second["seconds"]),
    }


def new_student(
    teacher: BertMeanPoolForSequenceClassification,
) -> BertMeanPoolForSequenceClassification:
    """Quad/2Quad student with the teacher's weights and frozen embeddings."""
    student = BertMeanPoolForSequenceClassification(student_config(teacher.config))
    student.load_state_dict(teacher.state_dict())
    freeze_embeddings(student)
    return student.eval()


def start_of_distillation(
    teacher: BertMeanPoolForSequenceClassification, corpus: Corpus, out: Path, resume: bool
) -> tuple[BertMeanPoolForSequenceClassification, dict]:
    """Closed-form start of the student and its figures; kept under ``out/start``."""
    student, folder = new_student(teacher), out / "start"
    if resume and (folder / "figures.json").exists():
        student.load_state_dict(load_file(folder / "start.safetensors"))
        return student, json.loads((folder / "figures.json").read_text())
    tokenizer = load_tokenizer(checkpoint_path())
    sample = Encoded(tokenizer, corpus.split.train[:CALIBRATION])
    factors = start_student(teacher, student, list(sample.batches(64)))
    figures = {"held_out": accuracy(student, corpus.held_out), "query_factors": factors}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(student.state_dict(), folder / "start.safetensors")
    (folder / "figures.json").write_text(json.dumps(figures))
    return student, figures


def run_ablation(
    teacher: BertMeanPoolForSequenceClassification, corpus: Corpus, out: Path, resume: bool
) -> dict:
    """Quad and 2Quad put into the teacher, then label fine-tuning without distillation."""
    model = new_student(teacher)
    result = {"substituted": accuracy(model, corpus.held_out)}
    folder = out / "no-distill"
    trained = train_on_labels(model, corpus.train, corpus.validation, LABEL_PLAN, folder, resume)
    result["fine_tuned"] = accuracy(model, corpus.held_out)
    result["curve"] = trained["curve"]
    (folder / "figures.json").write_text(json.dumps(result, indent=1))
    return result


def run_reviews(
    out: Path, plan: Plan, resume: bool, ablation: bool, command: Sequence[str]
) -> dict:
    """Run or resume every stage under ``out``; the shipped folder is ``out/student``."""
    journal = Journal(out / "log.jsonl")
    corpus = Corpus.load()
    tokenizer = load_tokenizer(checkpoint_path())
    teacher, teacher_figures = train_teacher(corpus, out, resume)
    teacher_figures["held_out"] = accuracy(teacher, corpus.held_out)
    journal.write(stage="teacher", held_out=teacher_figures["held_out"])
    if ablation:
        journal.write(stage="no-distill", **run_ablation(teacher, corpus, out, resume))
    student, start = start_of_distillation(teacher, corpus, out, resume)
    journal.write(stage="start", held_out=start["held_out"])
    pieces = text.unlabelled_pieces(corpus.reviews, corpus.split)
    mixture = Mixture(tokenizer, corpus.split.train, pieces, FRESH_PER_EPOCH)
    result = distil(teacher, student, mixture, corpus.validation, plan, out / "distil", resume)
    folder = out / "student"
    save_student(student, folder)
    student = load_student(folder)
    other = out / "no-distill" / "figures.json"
    figures = {
        "command": " ".join(command),
        "data": {
            "train": len(corpus.train),
            "validation": len(corpus.validation),
            "held_out": len(corpus.held_out),
            "labelled_endings": ENDINGS,
            "unlabelled_pieces": min(len(pieces), FRESH_PER_EPOCH * plan.epochs),
        },
        "teacher": teacher_figures,
        "no_distillation": json.loads(other.read_text()) if other.exists() else None,
        "closed_form_start": start,
        "student": {
            "held_out": accuracy(student, corpus.held_out),
            "validation": accuracy(student, corpus.validation),
            "curve": result["curve"],
            "plan": result["plan"],
            "seconds": round(result["seconds"]),
        },
        "ranges_train": observe(student, corpus.train),
        "ranges_held_out": observe(student, corpus.held_out),
        "ranges_imdb": observe(student, Encoded(tokenizer, pieces[-UNSEEN_PIECES:])),
    }
    save_tokenizer(tokenizer, folder)
    save_examples(corpus.split.held_out, folder)
    save_figures(figures, folder)
    (folder / "README.md").write_text(model_card(figures), encoding="utf-8")
    journal.write(stage="student", held_out=figures["student"]["held_out"])
    return figures
