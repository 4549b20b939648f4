"""What all tables share."""

from __future__ import annotations

from typing import Any

Figures = dict[str, Any]


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table whose first column is text, the others numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def made_by(results: Figures) -> str:
    """The command and the machine, as a line below a table."""
    m = results["machine"]
    return (
        f"\n`{results['command']}`, on {m['processor']}, {m['cores']} cores, "
        f"{m['memory_gb']:.0f} GB, {m['kernels']} kernels, {m['threads']} threads a process, "
        f"Veilform {m['veilform']}; load average {m.get('load_average', 'unknown')}.\n"
    )


def picture(name: str, what: str) -> str:
    """A picture of bench/plots.py."""
    return f"![{what}](figures/{name}.png)\n"
