"""The comparison of shares: private runs of several networks, and what is kept of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.models.networks import random_tensors
from tests.scripts import load

from veilform.models.bert.sides import Shape
from veilform.models.vision.config import MobileNetV2
from veilform.models.vision.merging import merge, with_merged
from veilform.models.vision.sides import ClientSide, ServerSide, publish
from veilform.vision import data, folder

FAMILY = MobileNetV2(10, 10, 1, 3, ((1, 4, 1, 1), (2, 6, 2, 2)), 4, 1, 8)
CELLS = {"1": (), "1, fine-tuned": (), "0.4": (2, 3)}


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> data.Pictures:
    images = np.random.default_rng(0).integers(0, 256, (12, 10, 10, 1), np.uint8)
    split = data.Split(images, np.arange(12) % 3)
    made = data.Pictures(split, split, split, ("a", "b", "c"))
    monkeypatch.setattr(data, "load", lambda name: made)
    return made


def test_cells_are_timed_and_compared(pictures: data.Pictures, tmp_path: Path) -> None:
    bench = load("compress")
    kept = bench.Figures(tmp_path / "figures.json")
    normal, found = folder.Normal((0.5,), (0.25,)), {}
    for seed, (name, merged) in enumerate(reversed(CELLS.items())):
        family = with_merged(FAMILY, merged)
        model = folder.Model(family, merge(family, random_tensors(family.unmerged(), seed)), normal)
        folder.write(bench.cell_of(tmp_path, name), model, pictures, {}, {})
        found[name] = {"training": {"merged_blocks": list(merged), "test": {"accuracy": 0.5}}}
    kept.save({"cells": found})
    assert list(kept.load()["cells"]) == list(CELLS), "by falling share"
    bench.measure(tmp_path, kept, 2)
    bench.agree(tmp_path, kept, "0.4", 10, 4)
    cells = kept.load()["cells"]
    side = ServerSide(tmp_path / "keep-0.4", normal.largest)
    publish(side, tmp_path / "public")
    foreseen = ClientSide(tmp_path / "public").trace(Shape(1, 1))
    private = cells["0.4"]["private"]
    assert 0 <= private["bytes_client_to_server"] - foreseen.total.up < 2000
    assert private["messages"] == foreseen.messages < cells["1"]["private"]["messages"]
    assert cells["1"]["private"]["messages"] == cells["1, fine-tuned"]["private"]["messages"]
    agreement = cells["0.4"]["agreement"]
    assert agreement["images"] == 10
    assert agreement["same_label"] == 10
    assert agreement["largest_logit_difference"] < 0.01
    assert "agreement" not in cells["1"]
    lines = [line for line in bench.compress(kept.load()).splitlines() if line.startswith("| ")]
    assert len(lines) == 2 + len(CELLS)
    assert lines[-1].startswith("| 0.4 | 2, 3 | 50.00 |")
    assert json.loads(kept.path.read_text())["machine"]["cores"]
