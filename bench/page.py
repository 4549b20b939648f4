"""Fills the tables of pages in docs/ from bench/results/*.json, so that no figure can drift.

    python bench/page.py            writes them into the pages
    python bench/page.py --check    fails if a page is not what would be written

A table stands between ``<!-- table NAME -->`` and ``<!-- end -->``. The text around is kept.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

from tables.common import Figures
from tables.compress import compress
from tables.dcvae import by_queue, dcvae
from tables.planning import planner
from tables.precision import precision, precision_once
from tables.quality import breakdown, functions, grid, longer, private, speed
from tables.service import faults, service
from tables.speed import growing, growth, instructions, links, models, peers

ROOT = Path(__file__).parents[1]
NAMES = (
    "benchmarks", "approximations", "results", "planning", "quantization", "compression", "dcvae",
)  # fmt: skip
PAGES = [ROOT / "docs" / f"{name}.md" for name in NAMES]
RESULTS = ROOT / "bench" / "results"
MISSING = "Not measured yet."
BLOCK = re.compile(r"(<!-- table (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


TABLES: dict[str, tuple[str, Callable[[Figures], str]]] = {
    "models": ("models", models),
    "instructions": ("instructions", instructions),
    "growth": ("growth", growth),
    "sequence": ("growth", growing("sequence", "seq")),
    "layers": ("growth", growing("layers", "layers")),
    "batch": ("growth", growing("batch", "batch")),
    "peers": ("peers", peers),
    "links": ("netem", links),
    "activations": ("approximations", functions("activation")),
    "attentions": ("approximations", functions("attention")),
    "grid-rotten-tomatoes": ("grid_rotten_tomatoes", grid),
    "grid-imdb": ("grid_imdb", grid),
    "longer-imdb": ("longer_imdb", longer),
    "mixes": ("speedup", speed("mixes")),
    "lengths": ("speedup", speed("lengths")),
    "breakdown": ("speedup", breakdown),
    "private": ("private", private),
    "planner": ("planner", planner),
    "service": ("service", service),
    "faults": ("faults", faults),
    "precision": ("precision", precision),
    "precision-paper-rate": ("precision_lr2e-05", precision_once),
    "precision-imdb": ("precision_imdb", precision_once),
    "compress": ("compress", compress),
    "dcvae": ("dcvae", dcvae),
    "dcvae-queue": ("dcvae", by_queue),
}
NEEDS = {
    "sequence": "sequence", "layers": "layers", "batch": "batch",
    "mixes": "mixes", "lengths": "lengths", "breakdown": "summary",
    "grid-rotten-tomatoes": "cells", "grid-imdb": "cells", "precision-imdb": "cells",
}  # fmt: skip
"""What of its results a table needs, where they may be partial."""


def filled(page: str) -> str:
    """The page with every table as its results say."""

    def fill(block: re.Match[str]) -> str:
        source, table = TABLES[block[2]]
        path = RESULTS / f"{source}.json"
        results = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        known = block[2] not in NEEDS or results.get(NEEDS[block[2]])
        content = table(results) if results and known else MISSING + "\n"
        return f"{block[1]}\n{content}\n{block[3]}"

    return BLOCK.sub(fill, page)


def main() -> int:
    stale = 0
    for path in PAGES:
        page = path.read_text(encoding="utf-8")
        text = filled(page)
        if "--check" in sys.argv[1:]:
            stale += page != text
            print(f"{path.name} is {'up to date' if page == text else 'stale: run bench/page.py'}")
        else:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.name}")
    return min(stale, 1)


if __name__ == "__main__":
    sys.exit(main())
