"""Tables of seconds: models, sizes, links, peers."""

from __future__ import annotations

from collections.abc import Callable

from tables.common import Figures, made_by, markdown, picture


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
