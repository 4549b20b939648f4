"""One stage of distillation by a parallel plan, resumable."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.distributed as dist
from safetensors.torch import load_file
from transformers import (
    EvalPrediction,
    PreTrainedModel,
    TrainerCallback,
    TrainerControl,
    TrainerState,
)

from veilform.distill.dataset import BucketSampler, Encoded
from veilform.distill.losses import label_loss, logit_loss
from veilform.distill.material import Material
from veilform.distill.ranks import checkpoint
from veilform.distill.ranks.inner import Seen
from veilform.distill.ranks.program import Batch, Program
from veilform.distill.stages import (
    BEST,
    DECAY,
    MAX_NORM,
    REPORT_STEPS,
    Settings,
    Stage,
    finish,
    keep_weights,
)


@dataclass
class Progress:
    """Where a stage is; what a checkpoint keeps beside tensors.

    Attributes:
        best, best_epoch: the best dev score and when it was.
    """

    epoch: int = 0
    step: int = 0
    best: float | None = None
    best_epoch: int = 0
    curve: list[dict] = field(default_factory=list)
    losses: list[dict] = field(default_factory=list)


def run_stage(
    stage: Stage,
    settings: Settings,
    model: PreTrainedModel,
    material: Material,
    folder: Path,
    teacher: PreTrainedModel | None = None,
    callbacks: tuple[TrainerCallback, ...] = (),
) -> dict:
    """As ``stages.run_stage``, with the model laid out by ``settings.layout``.

    ``settings.batch_size`` is the whole batch, of all replicas together; a short one at the end of
    an epoch is filled up with rows that weigh nothing. All ranks see ``folder``, and end with the
    best weights in ``model``.

    Raises:
        InputError: the plan does not fit the model, the batch or the number of processes.
    """
    layout = settings.layout
    if layout is None:
        raise ValueError("no layout is given")
    layout.check_batch(settings.batch_size)
    program = Program(copy.deepcopy(model), layout, stage.weights, settings.bf16)
    guide = None
    if stage.weights.teacher:
        if teacher is None:
            raise ValueError("these losses need a teacher")
        guide = Program(copy.deepcopy(teacher), layout, bf16=settings.bf16)
    start = time.monotonic()
    run = _Run(stage, settings, program, guide, material, folder, callbacks)
    resumed = run.train()
    result = {
        "stage": asdict(stage),
        "layout": asdict(layout),
        "arguments": run.arguments,
        "seconds": round(time.monotonic() - start, 1),
        "resumed": resumed,
        "best": run.progress.best,
        "curve": run.progress.curve,
        "losses": run.progress.losses,
    }
    if dist.get_rank() == 0:
        finish(folder, result, checkpoint.ALL)
    dist.barrier()
    model.load_state_dict(load_file(folder / BEST))
    return result


class _Run:
    """The loop of one stage on one rank."""

    def __init__(
        self,
        stage: Stage,
        settings: Settings,
        program: Program,
        guide: Program | None,
        material: Material,
        folder: Path,
        callbacks: tuple[TrainerCallback, ...],
    ) -> None:
        self.stage, self.settings, self.material, self.folder = stage, settings, material, folder
        self.program, self.guide, self.callbacks = program, guide, callbacks
        self.data = material.train if stage.unlabelled else material.labelled
        steps = math.ceil(len(self.data) / settings.batch_size) * stage.epochs
        self.arguments = {
            "batch_size": settings.batch_size,
            "learning_rate": stage.lr,
            "steps": steps,
            "warmup_steps": math.ceil(settings.warmup * steps),
            "weight_decay": DECAY,
            "max_grad_norm": MAX_NORM,
            "seed": settings.seed,
            "bf16": settings.bf16,
        }
        self.optimizer = torch.optim.AdamW(program.groups(DECAY), lr=stage.lr)
        self.progress = Progress()
        self.state = TrainerState(max_steps=steps, is_world_process_zero=dist.get_rank() == 0)

    def train(self) -> bool:
        """Run what is left of the stage; whether it went on from a checkpoint."""
        self.folder.mkdir(parents=True, exist_ok=True)
        found = checkpoint.load(self.folder, self.program, self.optimizer)
        if found is not None:
            self.progress = Progress(**found)
        progress, sampler = self.progress, self._sampler()
        self.state.global_step = progress.step
        self._tell("on_train_begin")
        while progress.epoch < self.stage.epochs and not self._is_stale():
            sampler.set_epoch(progress.epoch)
            self.program.train(self.settings.seed, progress.epoch)
            self._epoch(list(sampler))
            progress.epoch += 1
            self._judge()
            checkpoint.save(self.folder, self.program, self.optimizer, asdict(progress))
            self._tell("on_save")
        self._tell("on_train_end")
        return found is not None

    def _epoch(self, order: list[int]) -> None:
        progress, size = self.progress, self.settings.batch_size
        total, count = 0.0, 0
        for batch in _batches(self.data, self.material, order, size):
            rate = self.stage.lr * self._factor(progress.step)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            answers = () if self.guide is None else self._ask(batch)
            total, count = total + self.program.step(batch, *answers), count + 1
            norm = self.program.clip(MAX_NORM)
            self.optimizer.step()
            progress.step += 1
            self.state.global_step = progress.step
            self.state.epoch = progress.step / self.state.max_steps * self.stage.epochs
            self._tell("on_step_end")
            if progress.step % REPORT_STEPS == 0:
                point = {"loss": round(total / count, 6), "grad_norm": round(norm, 6)}
                progress.losses.append({"step": progress.step, "learning_rate": rate, **point})
                self._tell("on_log", logs=point)
                total, count = 0.0, 0

    def _ask(self, batch: Batch) -> tuple[torch.Tensor, list[Seen]]:
        if self.stage.weights.inner:
            return self.guide.watch(batch)
        return self.guide.predict(batch), []

    def _judge(self) -> None:
        """Score the dev set; the best weights so far are written at once."""
        progress, by = self.progress, self.stage.by
        scores = self._scores()
        progress.curve.append({"epoch": progress.epoch, "step": progress.step, **scores})
        self._tell("on_log", logs={f"eval_{name}": value for name, value in scores.items()})
        sign = -1.0 if by == "loss" else 1.0
        if progress.best is not None and sign * scores[by] <= sign * progress.best:
            return
        progress.best, progress.best_epoch = scores[by], progress.epoch
        whole = self.program.state_dict()
        if whole:
            keep_weights(self.folder, whole)

    def _scores(self) -> dict[str, float]:
        data, logits, labels, wanted = self.material.dev, [], [], []
        order = list(range(len(data)))
        for batch in _batches(data, self.material, order, 2 * self.settings.batch_size):
            logits.append(self.program.predict(batch).cpu())
            labels.append(batch["labels"])
            if self.guide is not None:
                wanted.append(self.guide.predict(batch).cpu())
        ours, known = torch.cat(logits), torch.cat(labels)
        loss = logit_loss(ours, torch.cat(wanted), heat=1.0) if wanted else label_loss(ours, known)
        scores = self.material.judge(EvalPrediction(ours.numpy(), known.numpy()))
        return {"loss": round(float(loss), 6), **{k: round(v, 6) for k, v in scores.items()}}

    def _factor(self, step: int) -> float:
        """Linear warm-up, then linearly to zero, as the Trainer's default."""
        warmup, steps = self.arguments["warmup_steps"], self.arguments["steps"]
        if step < warmup:
            return step / max(1, warmup)
        return max(0.0, (steps - step) / max(1, steps - warmup))

    def _is_stale(self) -> bool:
        patience = self.stage.patience
        return bool(patience) and self.progress.epoch - self.progress.best_epoch >= patience

    def _sampler(self) -> BucketSampler:
        return BucketSampler(self.data.lengths(), self.settings.batch_size, self.settings.seed)

    def _tell(self, event: str, **more: object) -> None:
        arguments = SimpleNamespace(output_dir=str(self.folder))
        for callback in self.callbacks:
            getattr(callback, event)(arguments, self.state, TrainerControl(), **more)


def _batches(data: Encoded, material: Material, order: list[int], size: int) -> Iterator[Batch]:
    for start in range(0, len(order), size):
        yield material.collator([data[i] for i in order[start : start + size]])
