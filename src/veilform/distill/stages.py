"""One stage of training: a Trainer on a folder, resumable, left at its best epoch."""

from __future__ import annotations

import json
import math
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    EarlyStoppingCallback,
    PreTrainedModel,
    PrinterCallback,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.trainer import TRAINER_STATE_NAME

from veilform.distill.material import Material
from veilform.distill.ranks.layout import Layout
from veilform.distill.trainer import DistilTrainer, Weights
from veilform.files import replacing

BEST = "best.safetensors"
DONE = "done.json"
CHECKPOINTS = "checkpoint-[0-9]*"
"""Folders that Transformers' Trainer writes."""
DECAY = 0.01
MAX_NORM = 1.0
REPORT_STEPS = 50


@dataclass(frozen=True)
class Stage:
    """What one stage does.

    Attributes:
        by: the dev metric that the best epoch has; ``loss`` is the least, others the greatest.
        unlabelled: it learns from texts without labels too.
        patience: epochs without a better one after which the stage stops; 0: never.
    """

    name: str
    epochs: int
    lr: float
    weights: Weights
    by: str = "loss"
    patience: int = 0
    unlabelled: bool = False


@dataclass(frozen=True)
class Settings:
    """What all stages share; ``extra`` goes to ``transformers.TrainingArguments`` as it is.

    With a ``layout`` stages run by that plan, with ``batch_size`` texts on all devices together;
    else they are data parallel, with as many on each device.
    """

    batch_size: int = 32
    seed: int = 1
    bf16: bool = True
    warmup: float = 0.06
    extra: dict[str, object] = field(default_factory=dict)
    layout: Layout | None = None


def run_stage(
    stage: Stage,
    settings: Settings,
    model: PreTrainedModel,
    material: Material,
    folder: Path,
    teacher: PreTrainedModel | None = None,
    callbacks: tuple[TrainerCallback, ...] = (),
) -> dict:
    """Train ``model`` in place; returns the stage's curve, arguments and seconds.

    A finished stage is loaded, an interrupted one goes on from its last checkpoint.
    """
    if (known := finished(folder, model)) is not None:
        return known
    if settings.layout is not None:
        from veilform.distill.ranks.train import run_stage as run_by_plan

        return run_by_plan(stage, settings, model, material, folder, teacher, callbacks)
    train = material.train if stage.unlabelled else material.labelled
    set_seed(settings.seed)
    steps = math.ceil(len(train) / settings.batch_size) * stage.epochs
    last = last_checkpoint(folder)
    arguments = {
        "num_train_epochs": stage.epochs,
        "learning_rate": stage.lr,
        "per_device_train_batch_size": settings.batch_size,
        "per_device_eval_batch_size": 2 * settings.batch_size,
        "warmup_steps": math.ceil(settings.warmup * steps),
        "weight_decay": DECAY,
        "max_grad_norm": MAX_NORM,
        "seed": settings.seed,
        "bf16": settings.bf16,
        "use_cpu": not torch.accelerator.is_available(),
        "optim": "adamw_torch_fused",
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "save_total_limit": 1,
        "load_best_model_at_end": True,
        "metric_for_best_model": stage.by,
        "greater_is_better": stage.by != "loss",
        "logging_steps": REPORT_STEPS,
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_pin_memory": False,
        **settings.extra,
    }
    stops = [EarlyStoppingCallback(stage.patience)] if stage.patience else []
    trainer = DistilTrainer(
        model, TrainingArguments(output_dir=str(folder), **arguments), stage.weights,
        train, material.dev, material.collator, teacher, material.judge, [*stops, *callbacks],
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    start = time.monotonic()
    trainer.train(resume_from_checkpoint=last)
    trainer.finish()
    history = trainer.state.log_history
    result = {
        "stage": asdict(stage),
        "arguments": arguments,
        "seconds": round(time.monotonic() - start, 1),
        "resumed": last is not None,
        "best": trainer.state.best_metric,
        "curve": [_point(entry) for entry in history if "eval_loss" in entry],
        "losses": [_losses(entry) for entry in history if "loss" in entry],
    }
    if trainer.is_world_process_zero():
        keep_weights(folder, model.state_dict())
        finish(folder, result)
    return result


def finished(folder: Path, model: nn.Module) -> dict | None:
    """The result of a finished stage, whose weights ``model`` gets; None if it is not finished."""
    done = folder / DONE
    if not done.exists():
        return None
    model.load_state_dict(load_file(folder / BEST))
    return json.loads(done.read_text(encoding="utf-8"))


def keep_weights(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Writes a stage's weights, whole or not at all."""
    with replacing(folder / BEST) as part:
        save_file({name: value.contiguous() for name, value in tensors.items()}, part)


def finish(folder: Path, result: dict, checkpoints: str = CHECKPOINTS) -> None:
    """Writes the result of a stage whose weights are kept; its checkpoints are needed no more."""
    with replacing(folder / DONE) as part:
        part.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for checkpoint in folder.glob(checkpoints):
        shutil.rmtree(checkpoint)


def last_checkpoint(folder: Path) -> str | None:
    """The newest of the Trainer's checkpoints that is whole; what was cut after it is removed."""
    found = {int(path.name.rpartition("-")[2]): path for path in folder.glob(CHECKPOINTS)}
    for _, path in sorted(found.items(), reverse=True):
        try:
            json.loads((path / TRAINER_STATE_NAME).read_text(encoding="utf-8"))  # written last
        except (OSError, ValueError):
            shutil.rmtree(path, ignore_errors=True)
            continue
        return str(path)
    return None


def _point(entry: dict) -> dict:
    """One dev score of the Trainer's history."""
    skip = ("runtime", "samples_per_second", "steps_per_second")
    kept = {k.removeprefix("eval_"): v for k, v in entry.items() if k.startswith("eval_")}
    scores = {k: round(v, 6) for k, v in kept.items() if k not in skip}
    return {"epoch": entry["epoch"], "step": entry["step"], **scores}


def _losses(entry: dict) -> dict:
    return {k: round(v, 6) for k, v in entry.items()}
