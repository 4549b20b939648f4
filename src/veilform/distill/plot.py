"""Plot of a distillation run from the ``training.json`` of a shipped folder."""

from __future__ import annotations

import json
from pathlib import Path


def plot_training(folder: Path, target: Path) -> None:
    """Draw validation accuracy and divergence per epoch into ``target`` (svg, png or pdf)."""
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams["svg.hashsalt"] = "veilform"
    from matplotlib import pyplot

    figures = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    curve = figures["student"]["curve"]
    epochs = [point["epoch"] for point in curve]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8.0, 3.0), layout="constrained")
    left.plot(epochs, [100 * p["validation"] for p in curve], "o-", label="student")
    teacher = figures["teacher"]["curve"][-1]["validation"]
    left.axhline(100 * teacher, color="0.4", linestyle="--", label="teacher")
    left.set(xlabel="distillation epoch", ylabel="validation accuracy, %")
    left.legend(loc="lower right", frameon=False)
    right.semilogy(epochs, [-p["score"] for p in curve], "o-", color="tab:red")
    right.set(xlabel="distillation epoch", ylabel="KL(teacher || student), nats")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xticks(epochs)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, metadata={"Date": None} if target.suffix == ".svg" else None)
    pyplot.close(figure)
