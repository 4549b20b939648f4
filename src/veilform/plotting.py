"""Plots, for those who installed what draws them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from veilform.errors import InputError

KINDS = (".svg", ".png", ".pdf")


def new(path: Path, width: float = 8, height: float = 4.5) -> tuple[Any, Any]:
    """A matplotlib figure and its axes, for a file of this name; see :func:`save`.

    Raises:
        InputError: matplotlib is not installed, or the name ends in none of ``KINDS``.
    """
    if path.suffix not in KINDS:
        raise InputError(f"cannot draw {path}: name a file that ends in {', '.join(KINDS)}")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("plots need matplotlib: pip install 'veilform[plan]'") from None
    figure = Figure((width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save(figure: Any, path: Path) -> None:
    """Writes it, the same bytes for the same figure."""
    from matplotlib import rc_context

    date = "CreationDate" if path.suffix == ".pdf" else "Date"
    metadata = None if path.suffix == ".png" else {date: None}
    path.parent.mkdir(parents=True, exist_ok=True)
    with rc_context({"svg.hashsalt": "veilform"}):
        figure.savefig(path, dpi=150, metadata=metadata)
