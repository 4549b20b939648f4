"""Stages 1 and 2: the Quad/2Quad student learns the teacher's hidden states and logits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from .data import Batch, Encoded
from .loop import Plan, accuracy, fit, predict
from .losses import RangeProbe, hidden_loss, logit_loss
from .student import BertMeanPoolForSequenceClassification

HIDDEN_WEIGHT = 10.0
LOGIT_WEIGHT = 1.0
RANGE_WEIGHT = 0.1


def agreement(
    student: BertMeanPoolForSequenceClassification,
    teacher: BertMeanPoolForSequenceClassification,
    data: Encoded,
) -> Callable[[], dict[str, float]]:
    """Score on ``data``: minus the KL divergence from the teacher, plus the accuracy."""
    target, _ = predict(teacher, data)

    def score() -> dict[str, float]:
        logits, labels = predict(student, data)
        divergence = logit_loss(logits, target, heat=1.0).item()
        right = (logits.argmax(-1) == labels).double().mean().item()
        return {"score": -divergence, "validation": right}

    return score


def distil(
    teacher: BertMeanPoolForSequenceClassification,
    student: BertMeanPoolForSequenceClassification,
    data: Encoded,
    validation: Encoded,
    plan: Plan,
    folder: Path,
    resume: bool,
) -> dict:
    """Train ``student`` on the teacher's hidden states and logits; labels are not used."""
    teacher.eval()
    probe = RangeProbe(student)

    def loss_of(batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        with torch.no_grad():
            target = teacher(batch.ids, batch.mask, output_hidden_states=True)
        probe.clear()
        out = student(batch.ids, batch.mask, output_hidden_states=True)
        with torch.autocast("cpu", enabled=False):
            hidden = hidden_loss(out.hidden_states[1:], target.hidden_states[1:], batch.mask)
            logit = logit_loss(out.logits, target.logits)
            ranges = probe.penalty(batch.mask)
            loss = HIDDEN_WEIGHT * hidden + LOGIT_WEIGHT * logit + RANGE_WEIGHT * ranges
        parts = {"hidden": hidden.item(), "logit": logit.item(), "ranges": ranges.item()}
        probe.clear()
        return loss, parts

    def score() -> dict[str, float]:
        result = judge()
        probe.clear()
        return result

    judge = agreement(student, teacher, validation)
    result = fit(student, data, loss_of, score, plan, folder, resume)
    probe.remove()
    return result


def train_on_labels(
    model: BertMeanPoolForSequenceClassification,
    train: Encoded,
    validation: Encoded,
    plan: Plan,
    folder: Path,
    resume: bool,
) -> dict:
    """Cross-entropy fine-tuning on labelled sentences (the teacher, and the ablation)."""

    def loss_of(batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        return model(batch.ids, batch.mask, labels=batch.labels).loss, {}

    def score() -> dict[str, float]:
        right = accuracy(model, validation)
        return {"score": right, "validation": right}

    return fit(model, train, loss_of, score, plan, folder, resume)
