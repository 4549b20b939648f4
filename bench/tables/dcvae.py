"""Tables of bench/dcvae.py: DC-VAE beside its baselines, and by size of its queue."""

from __future__ import annotations

import statistics

from tables.common import Figures, made_by, markdown

ORDER = ("vae", "vae-gan", "dcvae-set", "dcvae")
HEAD = [
    "Frechet, samples", "Frechet, reconstructions", "retrieval at 1, %", "by pixels, %",
    "pixel error", "probe, %",
]  # fmt: skip


def dcvae(results: Figures) -> str:
    """A row a variant: means over its seeds."""
    queue, rows = results["sizes"]["queue"], []
    for name in ORDER:
        cells = [c for c in results["cells"] if (c["variant"], c["queue"]) == (name, queue)]
        if not cells:
            rows.append([f"`{name}`", "0", "not yet", *[""] * len(HEAD)])
            continue
        minutes = statistics.mean(cell["cpu_seconds_of_last_run"] for cell in cells) / 60
        scores = [cell["scores"] for cell in cells]
        rows.append([f"`{name}`", str(len(cells)), *_means(scores), f"{minutes:.0f}"])
    head = ["variant", "seeds", *HEAD, "CPU minutes"]
    return markdown(head, rows) + made_by(results)


def by_queue(results: Figures) -> str:
    """DC-VAE of the first seed, by how many keys its queue holds."""
    cells = [c for c in results["cells"] if c["variant"] == "dcvae" and c["seed"] == 0]
    rows = [
        [f"{cell['queue']:,}", *_means([cell["scores"]])]
        for cell in sorted(cells, key=lambda c: c["queue"])
    ]
    return markdown(["keys", *HEAD], rows)


def _means(scores: list[Figures]) -> list[str]:
    """Means, with the standard deviation of what is compared where there are several."""
    shown = []
    for name, factor, digits in (
        ("frechet_samples", 1, 1), ("frechet_reconstructions", 1, 1), ("retrieval", 100, 2),
        ("retrieval_pixels", 100, 2), ("pixel_error", 1, 3), ("probe", 100, 1),
    ):  # fmt: skip
        values = [factor * each[name] for each in scores]
        text = f"{statistics.mean(values):.{digits}f}"
        if len(values) > 1:
            text += f" ± {statistics.stdev(values):.{digits}f}"
        shown.append(text)
    return shown
