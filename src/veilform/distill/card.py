"""The model card (``README.md``) of a student: what it is, how good, at what cost, how made."""

from __future__ import annotations

from pathlib import Path

from veilform.errors import VeilformError
from veilform.models.bert.calibration import Calibration
from veilform.models.bert.sides import ServerSide
from veilform.models.sides import Shape
from veilform.models.text import BUCKETS
from veilform.plan.cost import Report

HEAD = """---
library_name: veilform
pipeline_tag: text-classification
---

# {name}

A classifier distilled for private inference with Veilform: its activation is `{act}`, its attention
function `{attention}`. Method `{method}`, started from {start}.

## Quality

{scores}

Float32, in the clear; {examples}.
`training.json` has the curves, settings and times.
"""
COST = """
## Cost of one private inference

| tokens | messages | online, client to server | online, server to client | offline |
|---|---|---|---|---|
{rows}

Exact, from the trace; `veilform cost` has the breakdown. The calibration in `calibration.json` was
measured on {texts:,} training texts. Digest of the model that a stock is bound to: `{digest}`.
"""
NOT_SERVED = """
## Private inference

This folder cannot be served yet: {reason}.
"""
USE = """
## Use

    veilform evaluate {name} --data FILE --private 100
    veilform demo --model {name} --text "..."

`veilform.distill.student.Student.from_pretrained` loads it for PyTorch. Texts are cut to
{max_tokens} tokens in training; a private run refuses longer ones.

## Limits

It knows what its teacher and its data taught it, with their biases. Data: {task}. Name here the
licences of the teacher and of the data before you publish this folder.
"""
MIN = min(BUCKETS)
STARTS = {
    "closed-form": "least-squares fits to its teacher",
    "teacher": "its teacher's weights",
    "random": "random weights",
}


def model_card(folder: Path, figures: dict) -> str:
    """Markdown text for the figures of ``run.distil`` and the files in ``folder``."""
    student, counts = figures["student"], figures["examples"]
    text = HEAD.format(
        name=folder.name,
        act=student["act"],
        attention=student["attention"],
        method=student["method"],
        start=STARTS[student["start"]],
        scores=_scores(figures),
        examples=", ".join(f"{name} {count:,}" for name, count in counts.items() if count),
    )
    reason = figures["calibration"]
    text += (
        _cost(folder, figures["max_tokens"]) if reason is None else NOT_SERVED.format(reason=reason)
    )
    return text + USE.format(
        name=folder.name, max_tokens=figures["max_tokens"], task=figures["task"]["name"]
    )


def _scores(figures: dict) -> str:
    parts = figures["student"]["scores"]
    heads = [f"{metric}, {part}" for part, found in parts.items() for metric in found]
    lines = [f"| model | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for name in ("teacher", "student"):
        values = [v for found in figures[name]["scores"].values() for v in found.values()]
        lines.append(f"| {name} | {' | '.join(f'{value:.4f}' for value in values)} |")
    return "\n".join(lines)


def _cost(folder: Path, max_tokens: int) -> str:
    try:
        side = ServerSide(folder)
        lengths = [s.length for s in side.scales.lengths if s.length <= max(max_tokens, MIN)]
        costs = {length: Report(side.trace(Shape(1, length))) for length in lengths}
    except (VeilformError, ValueError) as error:
        # A ValueError is a mistake of ours; hours of training must not be lost to it.
        return NOT_SERVED.format(reason=error)
    rows = [
        f"| {length} | {cost.trace.messages} | {cost.up_bytes / 1e6:.2f} MB "
        f"| {cost.down_bytes / 1e6:.2f} MB | {cost.trace.total.offline_bytes / 1e6:.2f} MB |"
        for length, cost in costs.items()
    ]
    texts = Calibration.load(folder).texts
    return COST.format(rows="\n".join(rows), texts=texts, digest=side.model)
