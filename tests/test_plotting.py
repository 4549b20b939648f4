"""Plots are files of the kind that their name says, and the same figure is the same bytes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from veilform import plotting
from veilform.errors import InputError

STARTS = {".svg": b"<?xml", ".png": b"\x89PNG", ".pdf": b"%PDF"}


@pytest.mark.parametrize("kind", plotting.KINDS)
def test_a_plot_is_the_same_each_time(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("a", "b"):
        figure, axes = plotting.new(tmp_path / f"{name}{kind}")
        axes.plot([1, 2], [3, 5])
        plotting.save(figure, tmp_path / "new" / f"{name}{kind}")
    first, second = ((tmp_path / "new" / f"{name}{kind}").read_bytes() for name in "ab")
    assert first.startswith(STARTS[kind])
    assert first == second


def test_a_name_that_says_no_kind() -> None:
    with pytest.raises(InputError, match=r"plot.txt: name a file that ends in \.svg"):
        plotting.new(Path("plot.txt"))


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match="pip install"):
        plotting.new(Path("plot.svg"))
