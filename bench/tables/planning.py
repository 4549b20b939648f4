"""The planner beside the stopwatch."""

from __future__ import annotations

from tables.common import Figures, made_by, markdown

GOAL = 0.15


def planner(results: Figures) -> str:
    """Predicted and measured seconds."""
    rows = [
        [
            row["shape"], str(row["seq"]), row["link"], str(row["runs"]),
            f"{row['online_predicted']:.3f}",
            f"{row['online_measured']:.3f}", f"{100 * row['online_error']:+.1f}",
            f"{row['offline_predicted']:.3f}", f"{row['offline_measured']:.3f}",
            f"{100 * row['offline_error']:+.1f}",
        ]
        for row in sorted(results["rows"], key=_order)
    ]  # fmt: skip
    head = [
        "model", "tokens", "link", "runs", "online s, predicted", "measured", "error, %",
        "offline s, predicted", "measured", "error, %",
    ]  # fmt: skip
    errors = [abs(row["online_error"]) for row in results["rows"]]
    within = sum(error <= GOAL for error in errors)
    note = (
        f"\n{within} of {len(errors)} rows are within {100 * GOAL:.0f} % online; the largest error "
        f"is {100 * max(errors):.1f} %. Bytes and messages: equal in every row.\n"
    )
    return markdown(head, rows) + note + made_by(results)


def _order(row: Figures) -> tuple[str, int, int]:
    return row["shape"], row["seq"], ("loopback", "lan", "wan").index(row["link"])
