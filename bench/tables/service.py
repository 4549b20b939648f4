"""The service under load."""

from __future__ import annotations

from tables.common import Figures, made_by, markdown


def service(results: Figures) -> str:
    """Answers, seconds and memory, by number of clients."""
    names = {"direct": "by itself", "gateway": "through one gateway"}
    rows = [
        [
            f"{row['clients']}, {names[way]}", f"{row['answered']} of {row['asked']}",
            str(row["wrong"]), f"{row['a_second']:.2f}",
            *(f"{seconds:.2f}" for seconds in row["seconds"].values()),
            ", ".join(f"{name} {part:+.1%}" for name, part in row["memory_growth"].items()),
        ]
        for way in names
        for row in results.get(way, ())
    ]  # fmt: skip
    head = [
        "clients", "answered", "unlike plain", "a second", "p50 s", "p95 s", "p99 s",
        "memory, from the 100th answer to the last",
    ]  # fmt: skip
    return markdown(head, rows) + made_by(results)
