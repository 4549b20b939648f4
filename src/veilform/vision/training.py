"""Training of image networks: a ``transformers.Trainer`` by SGD, resumable after each epoch.

Progress, checkpoints, seeds and devices are the Trainer's, as in ``distill.stages``.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from veilform.distill.losses import logit_loss
from veilform.distill.stages import finish, finished, keep_weights, last_checkpoint
from veilform.errors import InputError
from veilform.vision.data import Split

SMOOTHING = 0.1
MOMENTUM = 0.9
DECAY = 1e-5
MAX_NORM = 5.0
REPORT_STEPS = 50
EVALUATED = 256


@dataclass(frozen=True)
class Stage:
    """What one stage of training does.

    Attributes:
        distilled: weight of the teacher's logits; the labels' loss has the rest.
        warmup: share of the steps in which the learning rate rises; then it falls as a cosine.
    """

    name: str
    epochs: int
    lr: float = 0.1
    batch_size: int = 64
    seed: int = 1
    distilled: float = 0.0
    warmup: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.lr < math.inf:
            raise InputError(f"a learning rate is a number above 0, not {self.lr}")


class Batches(torch.utils.data.Dataset):
    """Pictures as a network takes them: normalised, (B, C, H, W), channels last in memory.

    Args:
        targets: a teacher's logits (N, classes).
    """

    def __init__(
        self,
        split: Split,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        targets: NDArray[np.float32] | None = None,
    ) -> None:
        self._images, self._labels = torch.from_numpy(split.images), torch.from_numpy(split.labels)
        self._targets = None if targets is None else torch.from_numpy(targets)
        self._mean, self._std = torch.tensor(mean), torch.tensor(std)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """One of them, as a batch."""
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        """A batch: images, labels and, where a teacher has been asked, its logits."""
        at = torch.as_tensor(indices)
        pixels = self._images[at].float().div_(255).sub_(self._mean).div_(self._std)
        batch = {"images": pixels.permute(0, 3, 1, 2), "labels": self._labels[at]}
        return batch if self._targets is None else {**batch, "targets": self._targets[at]}


class ImageTrainer(Trainer):
    """Trains on smoothed labels and a teacher's logits, plus what the model asks for itself.

    A model with a method ``penalty`` has its value added to the loss; one with ``groups`` says
    what its parameters are optimised with.
    """

    loss_is_scaled_for_ga = False

    def __init__(
        self,
        model: nn.Module,
        args: TrainingArguments,
        stage: Stage,
        train: Batches,
        dev: Batches,
        callbacks: list[TrainerCallback],
    ) -> None:
        groups = model.groups(stage.lr) if hasattr(model, "groups") else model.parameters()
        optimizer = torch.optim.SGD(groups, stage.lr, MOMENTUM, weight_decay=DECAY)
        super().__init__(
            model=model, args=args, data_collator=lambda batch: batch, train_dataset=train,
            eval_dataset=dev, optimizers=(optimizer, None), callbacks=callbacks,
            compute_metrics=_accuracy,
        )  # fmt: skip
        self.stage = stage
        self.model_accepts_loss_kwargs = False
        self.can_return_loss = True

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The loss of one batch."""
        logits = model(inputs["images"])
        by = self.stage.distilled
        loss = (1 - by) * nn.functional.cross_entropy(
            logits, inputs["labels"], label_smoothing=SMOOTHING
        )
        if by:
            loss = loss + by * logit_loss(logits, inputs["targets"])
        if hasattr(model, "penalty"):
            loss = loss + model.penalty()
        return (loss, logits) if return_outputs else loss

    @torch.no_grad()
    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Labels' loss, logits and labels of one batch."""
        inputs = self._prepare_inputs(inputs)
        logits = model(inputs["images"])
        loss = nn.functional.cross_entropy(logits, inputs["labels"])
        return loss, logits, inputs["labels"]


def run_stage(
    stage: Stage,
    model: nn.Module,
    train: Batches,
    dev: Batches,
    folder: Path,
    callbacks: tuple[TrainerCallback, ...] = (),
) -> dict[str, Any]:
    """Train ``model`` in place; returns the stage's curve, arguments and seconds.

    A finished stage is loaded, an interrupted one goes on from its last epoch. The last epoch's
    weights are what it ends with: with a rate that falls to zero they are as good as any.
    """
    if (known := finished(folder, model)) is not None:
        return known
    set_seed(stage.seed)
    last = last_checkpoint(folder)
    steps = math.ceil(len(train) / stage.batch_size) * stage.epochs
    arguments: dict[str, Any] = {
        "num_train_epochs": stage.epochs,
        "learning_rate": stage.lr,
        "lr_scheduler_type": "cosine",
        "per_device_train_batch_size": stage.batch_size,
        "per_device_eval_batch_size": EVALUATED,
        "warmup_steps": math.ceil(stage.warmup * steps),
        "max_grad_norm": MAX_NORM,
        "seed": stage.seed,
        "use_cpu": not torch.accelerator.is_available(),
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "save_total_limit": 1,
        "logging_steps": REPORT_STEPS,
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "label_names": ["labels"],
        "dataloader_pin_memory": False,
    }
    trainer = ImageTrainer(
        model, TrainingArguments(output_dir=str(folder), **arguments), stage, train, dev,
        list(callbacks),
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    start = time.monotonic()
    trainer.train(resume_from_checkpoint=last)
    history = trainer.state.log_history
    if not all(torch.isfinite(value).all() for value in model.state_dict().values()):
        raise InputError(
            f"training diverged; remove {folder.parent} and try again with a lower rate than "
            f"{stage.lr:g}"
        )
    result = {
        "stage": asdict(stage),
        "examples": len(train),
        "seconds": round(time.monotonic() - start, 1),
        "resumed": last is not None,
        "curve": [
            {"epoch": round(one["epoch"], 3), "loss": round(one["eval_loss"], 5),
             "accuracy": round(one["eval_accuracy"], 5)}
            for one in history if "eval_loss" in one
        ],
    }  # fmt: skip
    model.cpu()
    keep_weights(folder, model.state_dict())
    finish(folder, result)
    return result


@torch.no_grad()
def logits_of(model: nn.Module, batches: Batches) -> NDArray[np.float32]:
    """Logits (N, classes) in evaluation mode."""
    model.eval()
    found = [
        model(batches.__getitems__(list(range(at, min(at + EVALUATED, len(batches)))))["images"])
        for at in range(0, len(batches), EVALUATED)
    ]
    return torch.cat(found).float().numpy()


def _accuracy(predictions: Any) -> dict[str, float]:
    return {"accuracy": float((predictions.predictions.argmax(-1) == predictions.label_ids).mean())}
