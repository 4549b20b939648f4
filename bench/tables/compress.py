"""The table of bench/compress.py: accuracy against private time, by share of activations kept."""

from __future__ import annotations

from tables.common import Figures, made_by, markdown, picture


def compress(results: Figures) -> str:
    """A row a network: what it kept, how good it is, what one private image costs."""
    cells = results["cells"]
    whole = cells.get("1", {}).get("private", {}).get("online_seconds")
    rows = []
    for name, cell in cells.items():
        trained, private = cell["training"], cell.get("private")
        row = [name, ", ".join(map(str, trained.get("merged_blocks", []))) or "none"]
        row.append(f"{100 * trained['test']['accuracy']:.2f}")
        if private:
            moved = private["bytes_client_to_server"] + private["bytes_server_to_client"]
            row += [
                f"{private['online_seconds']:.4f}",
                f"{whole / private['online_seconds']:.2f}" if whole else "",
                f"{moved / 1e6:.2f}", str(private["messages"]),
                f"{private['offline_bytes'] / 1e6:.0f}",
            ]  # fmt: skip
        else:
            row += ["not yet", "", "", "", ""]
        agreed = cell.get("agreement")
        row.append(f"{100 * agreed['share']:.2f} of {agreed['images']:,}" if agreed else "")
        rows.append(row)
    head = [
        "keep", "blocks merged", "accuracy, %", "online s", "faster", "online MB", "messages",
        "offline MB", "labels as plain, %",
    ]  # fmt: skip
    drawn = picture("compress", "Accuracy against private online time")
    return markdown(head, rows) + made_by(results) + "\n" + drawn
