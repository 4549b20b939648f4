"""Command line: ``python -m veilform.distill reviews --out DIR``."""

from __future__ import annotations

import enum
import logging
from pathlib import Path
from typing import Annotated

import typer

try:
    import torch
except ModuleNotFoundError:
    raise SystemExit("distillation needs PyTorch: make train-env") from None
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from .loop import Plan
from .plot import plot_training
from .train import run_reviews

app = typer.Typer(add_completion=False, help="Distil MPC-friendly Transformer classifiers.")


class Ablation(str, enum.Enum):
    """Extra runs for comparison."""

    NONE = "none"
    NO_DISTILL = "no-distill"


@app.callback()
def main() -> None:
    """Distil MPC-friendly Transformer classifiers."""


@app.command()
def reviews(
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, logs and the student.")],
    epochs: Annotated[int, typer.Option(help="Distillation epochs.")] = 6,
    lr: Annotated[float, typer.Option(help="Peak learning rate of distillation.")] = 2e-4,
    batch_size: Annotated[int, typer.Option(help="Texts in a distillation batch.")] = 32,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
    bf16: Annotated[bool, typer.Option(help="bfloat16 autocast in distillation.")] = True,
    ablation: Annotated[Ablation, typer.Option(help="Also train a comparison.")] = Ablation.NONE,
    resume: Annotated[bool, typer.Option(help="Continue an interrupted run.")] = False,
) -> None:
    """Sentiment student on movie reviews (teacher, distillation, export)."""
    console = Console(width=160)
    handler = RichHandler(console=console, show_path=False, show_level=False)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler])
    torch.set_num_threads(threads)
    plan = Plan(epochs=epochs, lr=lr, batch_size=batch_size, bf16=bf16)
    command = ["python -m veilform.distill reviews", f"--epochs {epochs}", f"--lr {lr:g}"]
    command += [f"--batch-size {batch_size}", f"--ablation {ablation.value}"]
    no_distill = ablation is Ablation.NO_DISTILL
    figures = run_reviews(out, plan, resume, no_distill, command)
    table = Table("model", "held-out accuracy")
    table.add_row("teacher", f"{figures['teacher']['held_out']:.4f}")
    if figures["no_distillation"]:
        table.add_row("without distillation", f"{figures['no_distillation']['fine_tuned']:.4f}")
    table.add_row("closed-form start", f"{figures['closed_form_start']['held_out']:.4f}")
    table.add_row("student", f"{figures['student']['held_out']:.4f}")
    console.print(table)


@app.command()
def plot(
    folder: Annotated[Path, typer.Argument(help="Shipped folder with training.json.")],
    target: Annotated[Path, typer.Argument(help="Picture to write (svg, png or pdf).")],
) -> None:
    """Curves of a finished distillation."""
    plot_training(folder, target)


if __name__ == "__main__":
    app()
