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
from typing import Any

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "docs" / f"{name}.md" for name in ("benchmarks", "approximations", "results")]
RESULTS = ROOT / "bench" / "results"
MISSING = "Not measured yet."
BLOCK = re.compile(r"(<!-- table (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
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


def growing(series: str, key: str) -> Callable[[Figures], str]:
    """A table of one series of bench/growth.py."""

    def table(results: Figures) -> str:
        rows = []
        for row in results.get(series, []):
            online, offline, plain = (
                row[f"{name}_seconds"] for name in ("online", "offline", "plain")
            )
            moved = row["bytes_client_to_server"] + row["bytes_server_to_client"]
            rows.append(
                [
                    str(row[key]), f"{online:.3f}", f"{offline:.3f}", f"{plain:.4f}",
                    f"{row['plain_exact_seconds']:.4f}", f"{online / plain:.0f}",
                    f"{moved / 1e6:.1f}", f"{row['offline_bytes'] / 1e6:.1f}",
                    str(row["messages"]), f"{row['peak_rss_mb']['server']:.0f}",
                ]
            )  # fmt: skip
        backend = {"torch": "PyTorch", "numpy": "NumPy"}[results[series][0]["plain_backend"]]
        head = [
            key, "online s", "offline s", f"plain {backend} s", "plain with GELU, softmax s",
            "online / plain", "online MB", "offline MB", "messages", "server MB of memory",
        ]  # fmt: skip
        return markdown(head, rows) + made_by(results)

    return table


def models(results: Figures) -> str:
    """Whole models over each link."""
    rows = []
    for row in results["models"]:
        moved = row["bytes_client_to_server"] + row["bytes_server_to_client"]
        online, plain = row["online_seconds"], row["plain_seconds"]
        memory = row["peak_rss_mb"]
        rows.append(
            [
                f"{row['shape']}, {row['seq']} tokens, {row['link']}",
                f"{online:.2f}", f"{row['offline_seconds']:.2f}", f"{plain:.3f}",
                f"{online / plain:.1f}", f"{moved / 1e6:.0f}",
                f"{row['offline_bytes'] / 1e6:.0f}", str(row["messages"]),
                " / ".join(f"{memory[party]:.0f}" for party in ("client", "server", "dealer")),
                f"{row['limit_seconds']:.2f}" if "limit_seconds" in row else "",
                str(row["runs"]),
            ]
        )  # fmt: skip
    head = [
        "model", "online s", "offline s", "plain s", "online / plain", "online MB", "offline MB",
        "messages", "peak MB: client / server / dealer", "limit s", "runs",
    ]  # fmt: skip
    return markdown(head, rows) + made_by(results)


def peers(results: Figures) -> str:
    """One layer of Veilform beside the peers."""
    ours = results["veilform"]
    layer = ours["total_seconds_a_layer"]
    rows = [
        ["Veilform, one layer more", f"{layer:.3f}", "1.0", ""],
        ["of it online", f"{ours['online_seconds_a_layer']:.3f}", "", ""],
        [
            "Veilform, one layer with entry, pooling and head",
            f"{ours['total_seconds']:.3f}", f"{ours['total_seconds'] / layer:.1f}", "",
        ],
    ]  # fmt: skip
    for peer in results["peers"]:
        name = f"{peer['peer']} {peer['version']}"
        ratio = f"{peer['times_our_total_a_layer']:.1f}"
        rows.append([name, f"{peer['seconds']:.3f}", ratio, f"{peer['max_error']:.2g}"])
    head = [f"{results['seq']} tokens", "seconds", "times Veilform's layer", "largest error"]
    drawn = picture("peers", "One encoder layer beside other systems")
    return markdown(head, rows) + made_by(results) + "\n" + drawn


def links(results: Figures) -> str:
    """Online seconds over each link."""
    rows = []
    for row in results["links"]:
        network = row["network"]
        rows.append(
            [
                row["link"],
                f"{row['least_seconds']:.3f}",
                f"{row['transport']['online_seconds']:.3f}",
                f"{network['online_seconds']:.3f}" if network else "",
                f"{network['round_trip_ms']:.1f}" if network else "",
                network["by"] if network else "",
            ]
        )
    head = [
        "link", "delays and bandwidth alone, s", "shaped in the transport, s", "real network, s",
        "its round trip, ms", "made by",
    ]  # fmt: skip
    drawn = picture("links", "Online seconds over each link")
    return markdown(head, rows) + made_by(results) + "\n" + drawn


def instructions(results: Figures) -> str:
    """Instructions of the kernels."""
    rows = [
        [row["kernel"], row["path"], f"{row['instructions_each']:.4g}", row["per"]]
        for row in results["kernels"]
    ]
    return markdown(["kernel", "path", "instructions", "for each"], rows) + made_by(results)


def growth(results: Figures) -> str:
    """The picture of all series."""
    return picture("growth", "Growth with text, layers and batch")


def functions(kind: str) -> Callable[[Figures], str]:
    """A table of one kind of approximation."""

    def table(results: Figures) -> str:
        rows = [
            [
                f"`{row['name']}`", f"{row['error']:.2g}", f"{row['from_exact']:.2g}",
                "any" if row["domain"] == "any" else f"±{row['domain']:g}",
                str(row["messages"]), f"{row['online_bytes'] / 1e6:.2f}",
                f"{row['offline_bytes'] / 1e6:.1f}", f"{row['online_seconds']:.4f}",
                f"{row['layer_online_seconds']:.3f}", f"{row['layer_offline_seconds']:.3f}",
            ]
            for row in results["functions"]
            if row["kind"] == kind
        ]  # fmt: skip
        head = [
            "function", "error", "from the exact one", "domain", "messages of the run",
            "online MB", "offline MB", "online s", "run online s", "run offline s",
        ]  # fmt: skip
        drawn = picture(f"functions_{kind}", f"Error and seconds of each {kind}")
        return markdown(head, rows) + made_by(results) + "\n" + drawn

    return table


def grid(results: Figures) -> str:
    """Accuracy of every mix and method."""
    methods = ("w/o p,d", "w/o d", "full")
    found = {(c["act"], c["attention"], c["method"]): c["scores"] for c in results["cells"]}
    mixes = list(dict.fromkeys((c["act"], c["attention"]) for c in results["cells"]))
    rows = []
    for mix in mixes:
        scores = [found.get((*mix, method)) for method in methods]
        shown = [f"{100 * s['test']['accuracy']:.1f}" if s else "not yet" for s in scores]
        rows.append([f"{mix[0]} + {mix[1]}", *shown])
    teacher = results["teacher"]["test"]["accuracy"]
    rows.append(["gelu + softmax: the teacher", "", "", f"{100 * teacher:.1f}"])
    drawn = picture(f"curves_{results['data']}", "Dev accuracy of Quad with 2Quad while training")
    return markdown(["held-out accuracy, %", *methods], rows) + made_by(results) + "\n" + drawn


def speed(series: str) -> Callable[[Figures], str]:
    """A table of one series of bench/speedup.py, beside GELU and softmax of the same length."""

    def table(results: Figures) -> str:
        base = {
            (row["seq"], row["layers"]): row
            for row in results[series]
            if (row["activation"], row["attention"]) == ("gelu", "softmax")
        }
        rows = []
        for row in results[series]:
            name = f"{row['activation']} + {row['attention']}"
            if "refused" in row:
                large = "randomness" in row["refused"]
                why = "refused: over 8 GiB of correlations" if large else row["refused"]
                rows.append([name, str(row["seq"]), why, *[""] * 6])
                continue
            exact = base[row["seq"], row["layers"]]
            moved = row["bytes_client_to_server"] + row["bytes_server_to_client"]
            both = row["online_seconds"] + row["offline_seconds"]
            times = ["", ""]
            if "refused" not in exact:
                whole = exact["online_seconds"] + exact["offline_seconds"]
                times = [f"{exact['online_seconds'] / row['online_seconds']:.1f}"]
                times.append(f"{whole / both:.1f}")
            rows.append(
                [
                    name, str(row["seq"]), f"{row['online_seconds']:.3f}",
                    f"{row['offline_seconds']:.3f}", *times, f"{moved / 1e6:.1f}",
                    f"{row['offline_bytes'] / 1e6:.0f}", str(row["messages"]),
                ]
            )  # fmt: skip
        head = [
            "functions", "tokens", "online s", "offline s", "times faster online",
            "with offline", "online MB", "offline MB", "messages",
        ]  # fmt: skip
        return markdown(head, rows) + made_by(results)

    return table


def breakdown(results: Figures) -> str:
    """Where one layer's online time goes; and CrypTen's exact layer."""
    summary = results["summary"]
    student, exact = summary["student"], summary["exact"]
    ours, theirs = (each["online_seconds_by_operation"] for each in (student, exact))
    rows = [
        [name, f"{ours[name]:.4f}", f"{theirs[name]:.4f}", f"{theirs[name] / ours[name]:.1f}"]
        for name in ours
        if ours[name] > 1e-4
    ]
    for phase in ("online", "offline"):
        a, b = (each[f"{phase}_seconds"] for each in (student, exact))
        rows.append([f"**{phase}**", f"{a:.4f}", f"{b:.4f}", f"{b / a:.1f}"])
    if "crypten_exact" in summary:
        total = student["online_seconds"] + student["offline_seconds"]
        a, b = (summary[f"crypten_{name}"]["seconds"] for name in ("student", "exact"))
        rows.append(["CrypTen, the same layer", f"{a:.3f}", f"{b:.3f}", f"{b / a:.1f}"])
        rows.append(
            ["CrypTen's exact layer over ours with Quad, 2Quad", "", "", f"{b / total:.1f}"]
        )
    head = ["seconds of a layer", "quad + 2quad", "gelu + softmax", "times"]
    drawn = picture("breakdown", "Seconds of a layer by operation")
    return markdown(head, rows) + made_by(results) + "\n" + drawn


def private(results: Figures) -> str:
    """Students and the exact model under secure computation, beside plain."""
    rows = [
        [
            row["name"], str(row["texts"]), f"{100 * row['plain']:.1f}",
            f"{100 * row['private']:.1f}", f"{100 * row['agreement']:.2f}",
            f"{row['largest_difference']:.4f}",
        ]
        for row in results["models"]
    ]  # fmt: skip
    head = [
        "model", "texts", "plain accuracy, %", "private accuracy, %", "labels that agree, %",
        "largest difference of a logit",
    ]  # fmt: skip
    return markdown(head, rows) + made_by(results)


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
    "mixes": ("speedup", speed("mixes")),
    "lengths": ("speedup", speed("lengths")),
    "breakdown": ("speedup", breakdown),
    "private": ("private", private),
}
NEEDS = {
    "sequence": "sequence", "layers": "layers", "batch": "batch",
    "mixes": "mixes", "lengths": "lengths", "breakdown": "summary",
    "grid-rotten-tomatoes": "cells", "grid-imdb": "cells",
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
