"""Tables of functions and students: what they cost and how good they are."""

from __future__ import annotations

from collections.abc import Callable

from tables.common import Figures, made_by, markdown, picture


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


def longer(results: Figures) -> str:
    """What more epochs of the first stage on other texts bring."""
    shown = [
        ("3 epochs on 10,000 reviews", results["before"]),
        (f"{results['epochs']} more on {results['reviews']:,} others", results["scores"]),
        ("the teacher", results["teacher"]),
    ]
    rows = [
        [name, *(f"{100 * scores[part]['accuracy']:.1f}" for part in ("dev", "test"))]
        for name, scores in shown
    ]
    return markdown(["stage 1", "dev, %", "held out, %"], rows) + made_by(results)


def speed(series: str) -> Callable[[Figures], str]:
    """A table of one series of bench/speedup.py, beside GELU and softmax of the same length."""

    def table(results: Figures) -> str:
        base = {
            (row["seq"], row["layers"]): row
            for row in results[series]
            if (row["activation"], row["attention"]) == ("gelu", "softmax")
        }
        rows = []
        most = max(row["layers"] for row in results[series])
        for row in results[series]:
            name = f"{row['activation']} + {row['attention']}"
            if row["layers"] < most:
                name += f", {row['layers']} layer"
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
