"""Models under secure computation beside plain, on held-out texts: collects `veilform evaluate`.

    python bench/private.py NAME FOLDER --data rotten_tomatoes --count 1000 --json FILE

One model a call; the row of that name in FILE is replaced, others are kept.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from veilform.bench import machine


def row(name: str, figures: dict[str, Any]) -> dict[str, Any]:
    """What docs/results.md shows of one evaluation."""
    private = figures["private"]
    return {
        "name": name,
        "data": Path(figures["data"]).name,
        "texts": private["texts"],
        "without_answer": private["without_answer"],
        "plain": private["plain_same"]["accuracy"],
        "private": private["scores"]["accuracy"],
        "plain_all": figures["plain"]["accuracy"],
        "all_texts": figures["texts"],
        "agreement": private["agreement"],
        "largest_difference": private["largest_logit_difference"],
        "mean_difference": private["mean_logit_difference"],
        "by_length": private["by_length"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name")
    parser.add_argument("folder")
    parser.add_argument("--data", default="rotten_tomatoes")
    parser.add_argument("--count", type=int, default=1000, help="texts (default 1000)")
    parser.add_argument("--batch", type=int, default=8, help="texts a run (default 8)")
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    command = [sys.executable, "-m", "veilform", "evaluate", options.folder, "--json"]
    command += [
        "--data",
        options.data,
        "--private",
        str(options.count),
        "--batch",
        str(options.batch),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    found = row(options.name, json.loads(done.stdout))
    kept = json.loads(options.json.read_text())["models"] if options.json.is_file() else []
    models = [one for one in kept if one["name"] != options.name] + [found]
    data = Path(options.data).name
    shown = f"python bench/private.py NAME FOLDER --data {data} --count {options.count}"
    machine.save(options.json, shown, {"models": models})
    print(json.dumps({key: value for key, value in found.items() if key != "by_length"}))


if __name__ == "__main__":
    main()
