"""Plot of a distillation from the ``training.json`` of a student's folder."""

from __future__ import annotations

import json
from pathlib import Path


def plot_training(folder: Path, target: Path) -> None:
    """Draw the dev metric and the dev loss of all stages into ``target`` (svg, png or pdf)."""
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams["svg.hashsalt"] = "veilform"
    from matplotlib import pyplot

    figures = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    metric = figures["task"]["metrics"][0]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8.0, 3.0), layout="constrained")
    done = 0
    for stage in figures["student"]["stages"]:
        curve = stage["curve"]
        epochs = [done + point["epoch"] for point in curve]
        left.plot(epochs, [100 * p[metric] for p in curve], "o-", label=stage["stage"]["name"])
        right.semilogy(epochs, [p["loss"] for p in curve], "o-")
        done = epochs[-1]
    teacher = figures["teacher"]["scores"]["dev"][metric]
    left.axhline(100 * teacher, color="0.4", linestyle="--", label="teacher")
    left.set(xlabel="epoch", ylabel=f"dev {metric}, %")
    left.legend(loc="lower right", frameon=False)
    right.set(xlabel="epoch", ylabel="dev loss (KL from the teacher, nats)")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, metadata={"Date": None} if target.suffix == ".svg" else None)
    pyplot.close(figure)
