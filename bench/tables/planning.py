"""The planner beside the stopwatch."""

from __future__ import annotations

from tables.common import Figures, made_by, markdown


def planner(results: Figures) -> str:
    """Predicted and measured seconds."""
    rows = [
        [
            row["shape"], str(row["seq"]), row["link"], f"{row['online_predicted']:.3f}",
            f"{row['online_measured']:.3f}", f"{100 * row['online_error']:+.1f}",
            f"{row['offline_predicted']:.3f}", f"{row['offline_measured']:.3f}",
            f"{100 * row['offline_error']:+.1f}",
        ]
        for row in results["rows"]
    ]  # fmt: skip
    head = [
        "model", "tokens", "link", "online s, predicted", "measured", "error, %",
        "offline s, predicted", "measured", "error, %",
    ]  # fmt: skip
    worst = max(abs(row["online_error"]) for row in results["rows"])
    note = f"\nLargest error online: {100 * worst:.1f} %. Bytes and messages: equal in every row.\n"
    return markdown(head, rows) + note + made_by(results)
