"""From a teacher's folder and examples to a folder that can be served: all stages in order."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel, TrainerCallback

from veilform.distill import packed
from veilform.distill.card import model_card
from veilform.distill.cut import cut
from veilform.distill.examples import Splits
from veilform.distill.material import Material
from veilform.distill.methods import Recipe, make_student
from veilform.distill.stages import Settings, Stage, run_stage
from veilform.distill.student import Student, freeze_embeddings, load_model
from veilform.distill.teacher import align, load_tokenizer, read_config, with_new_head
from veilform.distill.trainer import Weights
from veilform.errors import InputError, ModelError
from veilform.models.bert import validate
from veilform.models.bert.calibrate import calibrate
from veilform.quant import PRECISIONS, Policy
from veilform.quant.convert import convert, to_float

CALIBRATION_TEXTS = 3000
FIGURES = "training.json"


@dataclass(frozen=True)
class Job:
    """One student: from which teacher, with which functions, by which method, to which folder.

    Attributes:
        act, attention: names of functions, or names joined by commas, one for each layer.
        closed_form: start from fits to the teacher where that applies, not from its weights as
            they are.
        teacher_epochs: of fine-tuning, for a teacher without a head for the task.
        packed: store int8 words and float16 weights, as ``packed`` does.
        private_embedding: train the embeddings too; they are then the server's secret, and
            looking words up is done under secure computation.
        precision: of the products of linear layers in training, teacher's and student's: a key of
            ``quant.PRECISIONS``. What is written are float weights, rounded as training saw them.
    """

    teacher: Path
    out: Path
    act: str = "quad"
    attention: str = "2quad"
    method: str = "full"
    closed_form: bool = True
    max_tokens: int = 128
    teacher_epochs: int = 3
    teacher_lr: float = 5e-5
    pooling: str | None = None
    private_embedding: bool = False
    packed: bool = False
    precision: str = "fp32"
    recipe: Recipe = field(default_factory=Recipe)
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            known = ", ".join(PRECISIONS)
            raise InputError(f"no precision {self.precision!r}; choose one of {known}")
        if self.precision != "fp32" and self.settings.layout is not None:
            raise InputError(
                "a parallel plan shards float32 layers: leave out --plan, or use --precision fp32"
            )

    @property
    def policy(self) -> Policy:
        """The precision as the policy of every linear layer."""
        return Policy.of(PRECISIONS[self.precision])


def distil(
    job: Job,
    splits: Splits,
    callbacks: tuple[TrainerCallback, ...] = (),
    tell: Callable[[str], None] = lambda text: None,
) -> dict:
    """Make the student and write ``job.out``; returns the figures, which training.json keeps.

    Under ``torchrun`` the first process measures and writes; the others return training's part.

    Stages are kept under ``out/stages``: an interrupted job goes on where it was, a finished one
    is only written again.

    Raises:
        ModelError: the teacher cannot be read, or is of no family that distillation knows.
        InputError: a parallel plan is given that does not fit.
    """
    start = time.monotonic()
    config = read_config(job.teacher)
    aligned = align(splits, config)
    splits = aligned or splits
    tell("tokenising")
    material = Material.encode(splits, load_tokenizer(job.teacher), job.max_tokens, config)
    if aligned is not None:
        teacher, tuned = load_model(job.teacher), None
    else:
        teacher, tuned = fine_tune(job, splits, callbacks)
    student, figures = make_student(
        teacher, material, job.act, job.attention, job.method, job.recipe, job.settings,
        job.out / "stages", job.closed_form, job.private_embedding, callbacks, job.policy,
    )  # fmt: skip
    if not is_first_process():
        return figures
    _write(job, material.tokenizer, student)
    tell("measuring")
    written = load_model(job.out).to(student.device)
    figures = {
        "task": asdict(splits.task),
        "examples": {
            "train": len(splits.train),
            "unlabelled": len(splits.unlabelled),
            "dev": len(splits.dev),
            "test": len(splits.test),
        },
        "max_tokens": job.max_tokens,
        "teacher": {"scores": material.scores(teacher.to(student.device)), "fine_tuning": tuned},
        "student": {"scores": material.scores(written), **figures},
        "recipe": asdict(job.recipe),
        "precision": job.precision,
        "threads": torch.get_num_threads(),
        "device": str(student.device),
    }
    figures["calibration"] = _calibrate(job.out, splits, tell)
    figures["seconds"] = round(time.monotonic() - start)
    save_figures(figures, job.out)
    (job.out / "README.md").write_text(model_card(job.out, figures), encoding="utf-8")
    return figures


def save_figures(figures: dict, folder: Path) -> None:
    """Write ``training.json``."""
    (folder / FIGURES).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def fine_tune(
    job: Job, splits: Splits, callbacks: tuple[TrainerCallback, ...] = ()
) -> tuple[PreTrainedModel, dict]:
    """Stage 0: a new head on the job's checkpoint, learnt from labels; kept in ``out/teacher``."""
    model = with_new_head(job.teacher, splits.task, job.settings.seed, job.pooling)
    tokenizer = load_tokenizer(job.teacher)
    material = Material.encode(splits, tokenizer, job.max_tokens, model.config)
    if not job.private_embedding:
        freeze_embeddings(model)
    stage = Stage(
        "teacher", job.teacher_epochs, job.teacher_lr, Weights(labels=1.0),
        by=splits.task.metrics[0],
    )  # fmt: skip
    folder = job.out / "stages" / "teacher"
    convert(model, job.policy)
    result = run_stage(stage, job.settings, model, material, folder, None, callbacks)
    to_float(model)
    if is_first_process():
        save_model(model, tokenizer, job.max_tokens, job.out / "teacher")
    return model.cpu().eval(), result


def is_first_process() -> bool:
    """Whether this process writes: the only one, or the first that ``torchrun`` started."""
    return int(os.environ.get("RANK", "0")) == 0


def _write(job: Job, tokenizer: Tokenizer, student: PreTrainedModel) -> None:
    save_model(student, tokenizer, job.max_tokens, job.out)
    if job.packed:
        packed.save(student, job.out)
    settings = job.teacher / "tokenizer_config.json"
    if settings.is_file():
        (job.out / settings.name).write_bytes(settings.read_bytes())


def save_model(model: PreTrainedModel, tokenizer: Tokenizer, max_tokens: int, folder: Path) -> None:
    """A folder in Hugging Face's format whose tokenizer cuts to ``max_tokens``."""
    Student(model).save_pretrained(folder)
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)


def _calibrate(folder: Path, splits: Splits, tell: Callable[[str], None]) -> str | None:
    """Calibrate the folder on training texts; why that is not possible, or None."""
    problems = validate.examine(folder)
    if problems:
        return "; ".join(problems)
    tell("calibrating")
    try:
        calibrate(folder, calibration_texts(folder, splits)).save(folder)
    except ModelError as error:
        return str(error)
    return None


def calibration_texts(folder: Path, splits: Splits, limit: int = CALIBRATION_TEXTS) -> list:
    """Training texts (a pair as a tuple) as the model sees them: cut where training cuts them."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return [cut(tokenizer, example) for example in splits.train[:limit]]
