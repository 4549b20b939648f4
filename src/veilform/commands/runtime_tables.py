"""The tables of ``veilform runtime``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from veilform.commands import console


def fits(figures: Mapping[str, Any]) -> None:
    """Both fits of the same samples, as ``Fits.to_json`` has them."""
    table = Table("", "published form", "with a cache term")
    cache = figures["cache"] or {}
    rows = {
        "ms an output token": ("beta", 1e3, "{:.3f}"),
        "ns a token of context": ("gamma", 1e9, "{:.1f}"),
        "R^2": ("r2", 1, "{:.5f}"),
        "mean error, %": ("mape", 100, "{:.2f}"),
        "a prompt size left out, %": ("leave_one_out_error", 100, "{:.2f}"),
        "its slopes' error, ms": ("left_out_rmse", 1e3, "{:.2f}"),
    }
    for label, (key, scale, form) in rows.items():
        values = (each.get(key) for each in (figures, cache))
        table.add_row(label, *("" if v is None else form.format(scale * v) for v in values))
    console.out.print(table)
    better = {"published": "the published form", "cache": "the one with a cache term"}
    console.out.print(f"Better on prompt sizes left out: {better[figures['better']]}.")
    alpha(figures["alpha"])


def alpha(alpha: Mapping[Any, float]) -> None:
    """Seconds to the first token, by prompt size."""
    table = Table("prompt tokens", "ms to the first token")
    for size, seconds in alpha.items():
        table.add_row(str(size), f"{1e3 * seconds:.2f}")
    console.out.print(table)


def held_out(cells: list[dict[str, Any]]) -> None:
    """Cells that no fit saw, and how far the estimate is off."""
    table = Table("prompt x output", "ms", "estimate", "error, %", title="Cells held out")
    for cell in cells:
        table.add_row(
            f"{cell['prompt_tokens']} x {cell['output_tokens']}",
            f"{1e3 * cell['seconds']:.2f}",
            f"{1e3 * cell['estimate']:.2f}",
            f"{100 * cell['error']:.2f}",
        )
    console.out.print(table)


def comparison(rows: list[dict[str, Any]], prompt: int, output: int) -> None:
    """The ten models; in brackets the published beta, where the published fits are given."""
    table = Table(title=f"{prompt} prompt and {output} output tokens, on A100s")
    table.add_column("model", no_wrap=True)
    for head in ("10^9", "GPUs", "ms a token", "first", "all s", "cents", "Wh"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        beta = f"{1e3 * row['beta']:.1f}"
        if "published_beta" in row:
            beta += f" ({1e3 * row['published_beta']:.0f})"
        table.add_row(
            row["name"], f"{row['billions']:g}", str(row["accelerators"]), beta,
            f"{row['alpha']:.3f}", f"{row['seconds']:.2f}", f"{100 * row['dollars']:.3g}",
            f"{row['joules'] / 3600:.3g}",
        )  # fmt: skip
    console.out.print(table)
