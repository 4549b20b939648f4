"""Refits the published runtime profiles, profiles a model here, and fills docs/runtime.md.

    python bench/runtime.py              refits all profiles, draws the figure, writes the page;
                                         reads runtimes/ of $VEILFORM_SHARED_DATA, or of
                                         ../shared/data beside the checkout
    python bench/runtime.py --profile    profiles a random GPT-2 instead; needs PyTorch. On a busy
                                         machine, --clock cpu
    python bench/runtime.py --page       only the page, from bench/results/runtime.json
    python bench/runtime.py --check      fails if the page is not what would be written

A table stands between ``<!-- table NAME -->`` and ``<!-- end -->``. The text around is kept.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

from page import BLOCK, MISSING, Figures
from shared import shared_data
from tables.common import markdown

from veilform.bench import machine
from veilform.plan import runtime
from veilform.plan.runtime import compare

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "runtime.md"
RESULTS = ROOT / "bench" / "results" / "runtime.json"
FIGURE = ROOT / "docs" / "figures" / "runtime_by_size.svg"
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def refit(folder: Path) -> Figures:
    """Both fits of every profile, and the ten models beside their published fits."""
    profiles = []
    for path in sorted((folder / "a100").glob("*.csv")):
        figures = runtime.fit_both(runtime.read_csv(path)).to_json()
        profiles.append({"profile": path.stem, **{k: figures[k] for k in figures if k != "alpha"}})
    published = runtime.load(folder / "inference_idealized_runtimes.json")
    request = compare.Request()
    rows = compare.compare(folder / "a100", request, published)
    compare.plot(rows, request, FIGURE)
    return {
        "profiles": profiles,
        "comparison": {
            "prompt_tokens": request.prompt_tokens,
            "output_tokens": request.output_tokens,
            "models": rows,
        },
    }


def measure(trials: int, clock: str, command: str) -> Figures:
    """A random GPT-2 of the default shape on one thread of this machine's processor."""
    from veilform.plan.runtime.huggingface import Shape, open_model

    shape = Shape()
    generator = open_model(shape, device="cpu", threads=1)
    measured = runtime.profile(
        generator.generate, trials=trials, clock=CLOCKS[clock],
        progress=lambda done, total: print(f"\r{done} of {total} rounds", end="", flush=True),
    )  # fmt: skip
    print()
    about = {"layers": shape.layers, "width": shape.width, **generator.about}
    figures = {"clock": clock, "trials": trials, **about, **measured.to_json()}
    return {"command": command, "machine": machine.describe(), **figures}


def refits(results: Figures) -> str:
    """Every profile's fit, in the published form and with the cache's term."""
    rows = []
    for row in results["profiles"]:
        cache = row["cache"]
        rows.append(
            [
                f"`{row['profile']}`", f"{1e3 * row['beta']:.2f}", f"{row['r2']:.5f}",
                percent(row["mape"]), percent(row["leave_one_out_error"]),
                percent(row["sawtooth_error"]), f"{1e3 * cache['beta']:.2f}",
                f"{1e9 * cache['gamma']:.0f}", f"{cache['r2']:.5f}", percent(cache["mape"]),
                row["better"],
            ]
        )  # fmt: skip
    head = [
        "profile", "beta, ms", "R²", "MAPE, %", "a size left out, %", "the sawtooth's, %",
        "beta with gamma, ms", "gamma, ns", "R²", "MAPE, %", "better",
    ]  # fmt: skip
    return markdown(head, rows) + f"\n`{results['command']}`\n"


def ten(results: Figures) -> str:
    """The ten models on one request."""
    rows = [
        [
            row["name"], f"{row['billions']:g}", str(row["layers"]), str(row["width"]),
            str(row["accelerators"]), f"{1e3 * row['beta']:.1f}",
            f"{1e3 * row['published_beta']:.0f}", f"{row['alpha']:.3f}", f"{row['seconds']:.2f}",
            f"{100 * row['dollars']:.3g}", f"{row['joules'] / 3600:.3g}",
        ]
        for row in results["comparison"]["models"]
    ]  # fmt: skip
    head = [
        "model", "parameters, 10⁹", "layers", "width", "A100s", "beta, ms", "published, ms",
        "first token, s", "all, s", "cents", "Wh",
    ]  # fmt: skip
    drawn = f"![Idealized runtime against model size](figures/{FIGURE.name})\n"
    return markdown(head, rows) + f"\n`{results['command']}`\n\n" + drawn


def profiled(results: Figures) -> str:
    """The model that was profiled here: its fits, and the cells held out."""
    row = results["profiled"]
    host = row["machine"]
    cache, better = row["cache"], row["better"]
    fits = [
        [
            name, f"{1e3 * fit['beta']:.3f}", gamma, f"{fit['r2']:.5f}", percent(fit["mape"]),
            percent(fit["leave_one_out_error"]), "yes" if better == name else "",
        ]
        for name, fit, gamma in (
            ("published", row, ""), ("cache", cache, f"{1e9 * cache['gamma']:.0f}")
        )
    ]  # fmt: skip
    head = ["fit", "beta, ms", "gamma, ns", "R²", "MAPE, %", "a size left out, %", "better"]
    cells = [
        [
            f"{cell['prompt_tokens']} × {cell['output_tokens']}", f"{1e3 * cell['seconds']:.1f}",
            f"{1e3 * cell['estimate']:.1f}", percent(cell["error"]),
        ]
        for cell in row["held_out"]
    ]  # fmt: skip
    second = ["held-out prompt × output", "ms", "estimate of the better fit, ms", "error, %"]
    return (
        f"GPT-2 of {row['layers']} layers, width {row['width']}, "
        f"{row['parameters'] / 1e6:.1f} million parameters, {row['type']}, PyTorch {row['torch']}, "
        f"{row['device']}, {row['threads']} thread; least of {row['trials']} trials, "
        f"{row['clock']} seconds.\n\n"
        + markdown(head, fits) + "\n" + markdown(second, cells)
        + f"\n`{row['command']}`, on {host['processor']}, {host['cores']} cores, "
        f"{host['memory_gb']:.0f} GB; load average {host['load_average']}.\n"
    )  # fmt: skip


def percent(fraction: float) -> str:
    """A fraction in percent."""
    return f"{100 * fraction:.2f}"


TABLES = {
    "refits": ("profiles", refits),
    "ten": ("comparison", ten),
    "profiled": ("profiled", profiled),
}
"""By a table's name: the figures that it needs, and what writes it."""


def filled(page: str) -> str:
    """The page with every table as the results say."""
    results = json.loads(RESULTS.read_text(encoding="utf-8"))

    def fill(block: re.Match[str]) -> str:
        needs, table = TABLES[block[2]]
        content = table(results) if needs in results else MISSING + "\n"
        return f"{block[1]}\n{content}\n{block[3]}"

    return BLOCK.sub(fill, page)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--profile", action="store_true", help="profile a random GPT-2")
    parser.add_argument("--trials", type=int, default=12, help="of each cell (default 12)")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--page", action="store_true", help="only write the page")
    parser.add_argument("--check", action="store_true", help="fail if the page is stale")
    options = parser.parse_args()
    command = "python " + " ".join(["bench/runtime.py", *sys.argv[1:]])
    if not (options.page or options.check):
        known: dict[str, Any] = {}
        if RESULTS.is_file():
            known = json.loads(RESULTS.read_text(encoding="utf-8"))
        if options.profile:
            known["profiled"] = measure(options.trials, options.clock, command)
        else:
            known |= {"command": command, **refit(shared_data("runtimes"))}
        RESULTS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        print(f"wrote {RESULTS.name}")
    page = PAGE.read_text(encoding="utf-8")
    text = filled(page)
    if options.check:
        print(f"{PAGE.name} is {'up to date' if page == text else 'stale'}")
        return page != text
    PAGE.write_text(text, encoding="utf-8")
    print(f"wrote {PAGE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
