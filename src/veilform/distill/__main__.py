"""Command line: ``python -m veilform.distill reviews --out DIR``, the shipped student's recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

try:
    import torch
except ModuleNotFoundError:
    raise SystemExit("distillation needs PyTorch: make train-env") from None
from rich.console import Console

from veilform.distill import shipped
from veilform.distill.plot import plot_training
from veilform.distill.progress import Bar
from veilform.distill.stages import Settings

app = typer.Typer(add_completion=False, help="The shipped student, and plots of a distillation.")


@app.command()
def reviews(
    out: Annotated[Path, typer.Option(help="Folder for the teacher, stages and the student.")],
    epochs: Annotated[int, typer.Option(help="Epochs of stage 1.")] = 6,
    threads: Annotated[int, typer.Option(help="CPU threads; 0: all.")] = 0,
) -> None:
    """Sentiment student on movie reviews: teacher, distillation, packed folder. It can resume."""
    if threads:
        torch.set_num_threads(threads)
    console = Console(stderr=True)
    recipe = shipped.RECIPE.but(stage1_epochs=epochs)
    figures = shipped.make(out, recipe, Settings(), (Bar(console),))
    for name in ("teacher", "student"):
        console.print(name, figures[name]["scores"])


@app.command()
def plot(
    folder: Annotated[Path, typer.Argument(help="A student's folder, with training.json.")],
    target: Annotated[Path, typer.Argument(help="Picture to write (svg, png or pdf).")],
) -> None:
    """Dev scores of a finished distillation, epoch by epoch."""
    plot_training(folder, target)


if __name__ == "__main__":
    app()
