"""When each stage works on which micro-batch: one forward, one backward in turn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from veilform import plotting
from veilform.plan.parallel.predict import Prediction
from veilform.plan.parallel.published import BACKWARD
from veilform.plan.parallel.search import Plan

COLOURS = {"forward": "#4477aa", "backward": "#ee8866", "finish": "#bbbbbb"}
NUMBERED = 16
"""Micro-batches up to which each has its number written on it."""


@dataclass(frozen=True)
class Span:
    """A stage is busy with one pass of a micro-batch, its transfer included."""

    stage: int
    micro_batch: int
    step: str
    start: float
    end: float


def schedule(prediction: Prediction) -> list[Span]:
    """Spans of one pipeline, by stage and time.

    Stage s runs up to pp - s forward passes ahead, then a backward and a forward in turn
    (PipeDream-Flush; Narayanan et al. 2021, arXiv 2104.04473). A backward pass takes two thirds
    of a stage's time.
    """
    stages, count = len(prediction.compute_s), prediction.micro_batches
    times = [c + t for c, t in zip(prediction.compute_s, prediction.transfer_s, strict=True)]
    orders = [_order(min(count, stages - stage - 1), count) for stage in range(stages)]
    done: dict[tuple[int, int, str], float] = {}
    spans: list[list[Span]] = [[] for _ in range(stages)]
    while any(len(spans[s]) < 2 * count for s in range(stages)):
        for stage in range(stages):
            for micro_batch, step in orders[stage][len(spans[stage]) :]:
                before = _needs(stage, micro_batch, step, stages)
                if before is not None and before not in done:
                    break
                free = spans[stage][-1].end if spans[stage] else 0.0
                start = max(free, done[before] if before is not None else 0.0)
                part = (BACKWARD if step == "backward" else 1) / (1 + BACKWARD)
                end = start + part * times[stage]
                spans[stage].append(Span(stage, micro_batch, step, start, end))
                done[stage, micro_batch, step] = end
    return [span for each in spans for span in each]


def draw(plan: Plan, path: Path, title: str) -> None:
    """Plots the schedule of the plan.

    Raises:
        InputError: matplotlib is not installed, or the name is of no picture.
    """
    spans = schedule(plan.prediction)
    stages, end = plan.strategy.pp, max(span.end for span in spans)
    figure, axes = plotting.new(path, width=10, height=1.6 + 0.35 * stages)
    for span in spans:
        width = span.end - span.start
        axes.barh(
            span.stage, width, 0.8, span.start,
            color=COLOURS[span.step], edgecolor="white", linewidth=0.6,
        )  # fmt: skip
        if plan.prediction.micro_batches <= NUMBERED:
            axes.text(
                span.start + width / 2, span.stage, str(span.micro_batch + 1),
                ha="center", va="center", color="white", fontsize=7,
            )  # fmt: skip
    axes.barh(range(stages), plan.prediction.finish_s, 0.8, end, color=COLOURS["finish"])
    for step, colour in COLOURS.items():
        axes.barh(0, 0, color=colour, label=step)
    axes.set_yticks(range(stages), [f"stage {s}" for s in range(stages)])
    axes.invert_yaxis()
    axes.set_xlabel("seconds")
    axes.set_title(title)
    axes.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.12 - 0.5 / stages))
    plotting.save(figure, path)


def _order(ahead: int, count: int) -> list[tuple[int, str]]:
    """What a stage does, in turn."""
    order = [(m, "forward") for m in range(ahead)]
    for m in range(count):
        if m + ahead < count:
            order.append((m + ahead, "forward"))
        order.append((m, "backward"))
    return order


def _needs(stage: int, micro_batch: int, step: str, stages: int) -> tuple[int, int, str] | None:
    """What must be done before it, on a neighbour or here."""
    if step == "forward":
        return (stage - 1, micro_batch, step) if stage else None
    if stage == stages - 1:
        return stage, micro_batch, "forward"
    return stage + 1, micro_batch, step
