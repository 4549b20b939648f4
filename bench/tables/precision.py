"""The table of bench/precision.py: accuracy by method, and what the products count in bits."""

from __future__ import annotations

from tables.common import Figures, made_by, markdown, picture

# Multiply-adds of one layer's three products (forward, input's gradient, weights' gradient), each
# times the bits of both operands; bit splitting has two rows for one, sampling keeps half of them,
# and its weights' gradient is a float times 4 bits.
FLOAT, FOUR = 32, 4
BITS = {
    "fp32": 3 * FLOAT * FLOAT,
    "int8": 3 * 8 * 8,
    "lsq": FOUR * FOUR + 2 * FLOAT * FOUR,
    "lsq+luq": 3 * FOUR * FOUR,
    "hq": FOUR * FOUR + 2 * FLOAT * FOUR,
    "hq+bs": FOUR * FOUR + 2 * 2 * FOUR * FOUR,
    "hq+lss": FOUR * FOUR + FOUR * FOUR + FLOAT * FOUR,
}
# Mean of GLUE, BERT-base: arXiv 2306.11987.
PAPER = {"fp32": 82.67, "int8": 81.45, "lsq+luq": 75.29, "hq+lss": 80.81}


def precision(results: Figures) -> str:
    """Held-out accuracy of each method: mean, spread, seeds, and beside full precision."""
    means = results["means"]
    full = means.get("fp32", {}).get("test_accuracy")
    rows = []
    for method, bits in BITS.items():
        found = means.get(method)
        if found is None:
            rows.append([method, "not yet", "", "", "", _bits(bits), _paper(method)])
            continue
        cells = [c for c in results["cells"] if c["method"] == method]
        each = ", ".join(f"{100 * c['scores']['test']['accuracy']:.1f}" for c in cells)
        spread = found["deviation"]
        rows.append(
            [
                method, f"{100 * found['test_accuracy']:.1f}",
                "" if spread is None else f"{100 * spread:.1f}", each,
                "" if full is None else f"{100 * (found['test_accuracy'] - full):+.1f}",
                _bits(bits), _paper(method),
            ]
        )  # fmt: skip
    head = [
        "method", "held out, %", "deviation", "each seed", "beside fp32", "bit operations",
        "the paper, GLUE",
    ]  # fmt: skip
    name = "precision" if results["data"] == "rotten_tomatoes" else f"precision_{results['data']}"
    drawn = picture(name, "Held-out accuracy by method, each seed")
    return markdown(head, rows) + made_by(results) + "\n" + drawn


def precision_once(results: Figures) -> str:
    """The same of one seed each, without a picture."""
    rows = [
        [
            c["method"], f"{100 * c['scores']['dev']['accuracy']:.1f}",
            f"{100 * c['scores']['test']['accuracy']:.1f}",
            f"{100 * c['exported']['test']['accuracy']:.1f}",
        ]
        for c in results["cells"]
    ]  # fmt: skip
    head = ["method", "dev, %", "held out, %", "held out, plain floats, %"]
    return markdown(head, rows) + made_by(results)


def _bits(count: int) -> str:
    return f"1 / {BITS['fp32'] / count:.1f}" if count != BITS["fp32"] else "1"


def _paper(method: str) -> str:
    return f"{PAPER[method]:.2f}" if method in PAPER else ""
