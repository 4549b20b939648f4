"""Training on a terminal: a bar with the time left, and the dev score of each epoch as it comes."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class Bar(TrainerCallback):
    """Shows one bar a stage; off a terminal, one line a report."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress: Progress | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        self.name = Path(args.output_dir).name
        if not (self.console.is_terminal and state.is_world_process_zero):
            return
        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"), console=self.console,
        )  # fmt: skip
        self.progress.start()
        self.task = self.progress.add_task(self.name, total=state.max_steps, note="")
        self.progress.update(self.task, completed=state.global_step)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        if self.progress is not None:
            self.progress.update(self.task, completed=state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: object,
    ) -> None:
        logs = logs or {}
        scored = {k.removeprefix("eval_"): v for k, v in logs.items() if k.startswith("eval_")}
        speed = ("runtime", "samples_per_second", "steps_per_second")
        shown = {k: v for k, v in scored.items() if k not in speed} or {
            k: v for k, v in logs.items() if k == "loss"
        }
        note = " ".join(f"{name} {value:.4f}" for name, value in shown.items())
        if not note or not state.is_world_process_zero:
            return
        note = f"dev: {note}" if scored else note
        if self.progress is None:
            line = f"{self.name}: step {state.global_step} of {state.max_steps}, {note}"
            self.console.print(line, highlight=False, soft_wrap=True)
        elif scored:
            self.progress.console.print(f"{self.name}, epoch {state.epoch:.0f}, {note}")
            self.progress.update(self.task, note=note)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        if self.progress is not None:
            self.progress.stop()
            self.progress = None
