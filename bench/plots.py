"""Draws docs/figures/*.png from bench/results/*.json. Needs matplotlib (the extra ``bench``).

python bench/plots.py                          all whose figures are there
python bench/plots.py --results R --figures F  from and into other folders
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

ROOT = Path(__file__).parents[1]
ONLINE, OFFLINE, PLAIN, PEER = "tab:blue", "tab:orange", "0.5", "0.7"
Figures = dict[str, Any]


def growth(results: Figures) -> Any:
    """Seconds above, bytes below; a column a series."""
    series = [
        ("sequence", "seq", "MiniLM-L6: tokens"),
        ("layers", "layers", "BERT-base, 32 tokens: layers"),
        ("batch", "batch", "MiniLM-L6, 32 tokens: texts in a batch"),
    ]
    series = [each for each in series if results.get(each[0])]
    figure, axes = pyplot.subplots(
        2, len(series), figsize=(3.6 * len(series), 5.6), layout="constrained", squeeze=False
    )
    for column, (name, key, label) in enumerate(series):
        rows = results[name]
        sizes = [row[key] for row in rows]
        seconds, moved = axes[0, column], axes[1, column]
        for field, text, colour in (
            ("online_seconds", "online", ONLINE),
            ("offline_seconds", "offline", OFFLINE),
            ("plain_seconds", f"plain ({rows[0]['plain_backend']})", PLAIN),
        ):
            seconds.plot(sizes, [row[field] for row in rows], "o-", label=text, color=colour)
        online = [row["bytes_client_to_server"] + row["bytes_server_to_client"] for row in rows]
        moved.plot(sizes, [b / 1e6 for b in online], "o-", label="online", color=ONLINE)
        offline = [row["offline_bytes"] / 1e6 for row in rows]
        moved.plot(sizes, offline, "o-", label="offline", color=OFFLINE)
        for each in (seconds, moved):
            double_logarithmic(each, sizes)
        moved.set_xlabel(label)
    axes[0, 0].set_ylabel("seconds")
    axes[1, 0].set_ylabel("MB")
    axes[0, 0].legend(frameon=False)
    axes[1, 0].legend(frameon=False)
    return figure


def peers(results: Figures) -> Any:
    """One encoder layer: stacked bars of ours, one bar a peer."""
    ours = results["veilform"]
    names = ["veilform", *(row["peer"] for row in results["peers"])]
    figure, axes = pyplot.subplots(figsize=(6.4, 0.5 * len(names) + 1.1), layout="constrained")
    offline, online = ours["offline_seconds_a_layer"], ours["online_seconds_a_layer"]
    axes.barh(names[0], online, color=ONLINE, label="online")
    axes.barh(names[0], offline, left=online, color=OFFLINE, label="offline")
    for row in results["peers"]:
        axes.barh(row["peer"], row["seconds"], color=PEER)
    totals = [online + offline, *(row["seconds"] for row in results["peers"])]
    for at, total in enumerate(totals):
        axes.annotate(
            f"{total:.2f} s", (total, at), xytext=(4, 0), textcoords="offset points", va="center"
        )
    axes.set_xlim(0, 1.15 * max(totals))
    axes.invert_yaxis()
    axes.set_xlabel(f"seconds a layer of BERT-base, Quad + 2Quad, {results['seq']} tokens")
    axes.legend(frameon=False, loc="upper right")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def links(results: Figures) -> Any:
    """Online seconds over each link: what it takes at least, in the transport, over a network."""
    rows = results["links"]
    columns = [("least_seconds", "delays and bandwidth alone", PLAIN)]
    columns += [("transport", "shaped in the transport", ONLINE)]
    columns += [("network", "real shaped network", OFFLINE)]
    figure, axes = pyplot.subplots(figsize=(6.4, 3.2), layout="constrained")
    for place, (key, label, colour) in enumerate(columns):
        heights = [_seconds(row[key]) for row in rows]
        at = [i + 0.27 * (place - 1) for i in range(len(rows))]
        bars = axes.bar(at, heights, 0.25, label=label, color=colour)
        axes.bar_label(bars, [f"{h:.2f}" if h else "" for h in heights], fontsize=8)
    axes.set_xticks(range(len(rows)), [row["link"] for row in rows])
    first = rows[0]["transport"]
    axes.set_ylabel(f"online seconds, {first['shape']}, {first['seq']} tokens")
    axes.legend(frameon=False, loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _seconds(value: float | Figures | None) -> float:
    return value["online_seconds"] if isinstance(value, dict) else value or 0.0


def double_logarithmic(axes: Axes, sizes: list[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def functions(kind: str) -> Callable[[Figures], Any]:
    """Each function of a kind by its own online seconds and how far it is from the exact one."""

    def draw(results: Figures) -> Any:
        rows = [row for row in results["functions"] if row["kind"] == kind]
        figure, axes = pyplot.subplots(figsize=(6.4, 3.6), layout="constrained")
        for row in rows:
            # Beside the exact function there is only the secure one's own error.
            away = max(row["from_exact"], row["error"])
            axes.plot(row["online_seconds"], away, "o", color=ONLINE)
            axes.annotate(
                row["name"], (row["online_seconds"], away), xytext=(6, 3),
                textcoords="offset points",
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.margins(0.2)
        axes.set_xlabel("online seconds of the function in a layer of BERT-base, 128 tokens")
        axes.set_ylabel("largest distance from the exact one")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        return figure

    return draw


def breakdown(results: Figures) -> Any:
    """Online seconds of a layer by operation: quad and 2quad, gelu and softmax."""
    summary = results.get("summary", {})
    if not {"student", "exact"} <= set(summary):
        return None
    names = {"student": "quad + 2quad", "exact": "gelu + softmax"}
    figure, axes = pyplot.subplots(figsize=(7.2, 2.2), layout="constrained")
    left = dict.fromkeys(names, 0.0)
    operations = summary["exact"]["online_seconds_by_operation"]
    for operation in (name for name, seconds in operations.items() if seconds > 1e-3):
        widths = [max(0, summary[k]["online_seconds_by_operation"][operation]) for k in names]
        axes.barh([*names.values()], widths, left=[*left.values()], label=operation)
        left = {k: left[k] + width for k, width in zip(names, widths, strict=True)}
    for at, total in enumerate(left.values()):
        axes.annotate(
            f"{total:.2f} s", (total, at), xytext=(4, 0), textcoords="offset points", va="center"
        )
    axes.set_xlim(0, 1.12 * max(left.values()))
    axes.invert_yaxis()
    axes.set_xlabel("online seconds of a layer of BERT-base, 128 tokens")
    axes.legend(frameon=False, fontsize=8, loc="upper right")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def curves(results: Figures) -> Any:
    """Accuracy on the dev set while training: every method of Quad with 2Quad."""
    cells = [c for c in results["cells"] if (c["act"], c["attention"]) == ("quad", "2quad")]
    figure, axes = pyplot.subplots(figsize=(6.4, 3.2), layout="constrained")
    for cell in cells:
        points = [100 * point["accuracy"] for point in cell["curve"]]
        axes.plot(range(1, len(points) + 1), points, "o-", label=cell["method"])
    teacher = 100 * results["teacher"]["dev"]["accuracy"]
    axes.axhline(teacher, color=PLAIN, linestyle="--", label="teacher")
    axes.set_xlabel("epoch, of all stages")
    axes.set_ylabel("dev accuracy, %")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def precision(results: Figures) -> Any:
    """Held-out accuracy of each method of small integers: every seed, and the mean."""
    methods = list(results["means"])
    figure, axes = pyplot.subplots(figsize=(6.4, 0.4 * len(methods) + 1.0), layout="constrained")
    for at, method in enumerate(methods):
        cells = [c for c in results["cells"] if c["method"] == method]
        scores = [100 * c["scores"]["test"]["accuracy"] for c in cells]
        axes.plot(scores, [at] * len(scores), "o", color=ONLINE, alpha=0.5)
        axes.plot(sum(scores) / len(scores), at, "|", color=OFFLINE, markersize=16)
    if "fp32" in methods:
        least = 100 * results["means"]["fp32"]["test_accuracy"] - 2
        axes.axvline(least, color=PLAIN, linestyle="--", label="2 points below fp32")
        axes.legend(frameon=False)
    axes.set_yticks(range(len(methods)), methods)
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.set_xlabel("held-out accuracy, %: each seed, and the mean")
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def small_weights(results: Figures) -> Any:
    """The server's online milliseconds in linear layers, by part, of each kind of weights."""
    rows = [row for row in results["linear_layers"] if row["threads"] == 1]
    rows.sort(key=lambda row: row["tokens"])
    names = [f"{row['tokens']} tokens, {row['weights']}" for row in rows]
    figure, axes = pyplot.subplots(figsize=(6.4, 0.3 * len(rows) + 1.1), layout="constrained")
    left = [0.0] * len(rows)
    for part in rows[0]["by_part"]:
        widths = [row["by_part"][part] for row in rows]
        axes.barh(names, widths, left=left, label=part)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    for at, row in enumerate(rows):
        faster = row["times_faster"]
        text = f"{row['milliseconds']:.1f} ms" + (f", {faster:.2f} times" if faster != 1 else "")
        axes.annotate(text, (left[at], at), xytext=(4, 0), textcoords="offset points", va="center")
    axes.set_xlim(0, 1.3 * max(left))
    axes.invert_yaxis()
    axes.set_xlabel("online milliseconds in linear layers, one thread")
    axes.legend(frameon=False, loc="upper right")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


DRAWN: dict[str, tuple[str, Callable[[Figures], Any]]] = {
    "growth": ("growth", growth),
    "peers": ("peers", peers),
    "links": ("netem", links),
    "functions_activation": ("approximations", functions("activation")),
    "functions_attention": ("approximations", functions("attention")),
    "breakdown": ("speedup", breakdown),
    "curves_rotten_tomatoes": ("grid_rotten_tomatoes", curves),
    "curves_imdb": ("grid_imdb", curves),
    "precision": ("precision", precision),
    "small_weights": ("small_weights", small_weights),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results")
    parser.add_argument("--figures", type=Path, default=ROOT / "docs" / "figures")
    options = parser.parse_args()
    options.figures.mkdir(parents=True, exist_ok=True)
    for name, (results, draw) in DRAWN.items():
        source = options.results / f"{results}.json"
        if not source.is_file():
            print(f"{name}: no {source.name}, so no figure")
            continue
        figure = draw(json.loads(source.read_text(encoding="utf-8")))
        if figure is None:
            continue
        target = options.figures / f"{name}.png"
        figure.savefig(target, dpi=144, metadata={"Software": None})
        pyplot.close(figure)
        print(f"wrote {target.name}")


if __name__ == "__main__":
    main()
