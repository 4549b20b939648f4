"""Private image classification: predicted and measured seconds beside each other, and exact bytes.

    python bench/images.py                                     all networks and links
    python bench/images.py --networks resnet32 --links lan     some of it
    python bench/images.py --json bench/results/images.json    and the figures as JSON

Random weights and pixels; dealer, server and client are processes or threads of this machine, with
TLS between them. What was measured is the fastest run and the median. Bytes and messages must be
those of the plan, and private logits near the plain ones, or it fails.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from veilform.bench import machine
from veilform.models import families
from veilform.models.vision.config import MobileNetV2, resnet18, resnet32
from veilform.plan.private.estimate import estimate
from veilform.plan.private.machine import Machine
from veilform.plan.random_network import write_network
from veilform.serve.local import LocalService
from veilform.transport import links

NETWORKS = {
    "resnet32": resnet32(),
    "resnet18-32": resnet18(32),
    "mobilenet_v2-32": MobileNetV2(
        32, 32, 1, 10,
        ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2)),
        32, 1, 640,
    ),
    "resnet18-224": resnet18(),
}  # fmt: skip
LINKS = ("loopback", "lan", "wan")
FAR = 0.05
SHOWN = ("network", "link", "online_predicted", "online_measured", "online_median",
         "offline_predicted", "offline_measured", "plain_seconds")  # fmt: skip


def row(name: str, link: str, rates: Machine, runs: int, start_s: float) -> dict[str, Any]:
    """One network over one link."""
    with tempfile.TemporaryDirectory(prefix="veilform-images-") as temporary:
        folder = Path(temporary) / "model"
        write_network(folder, NETWORKS[name])
        side, plain = families.server_side(folder), families.clear(folder)
        found = estimate(side, side.run_shape(1), rates, links.named(link))
        planned = found.report.as_dict()
        rng = np.random.default_rng(8)
        online, offline, clear = [], [], []
        with (
            LocalService(folder, link=link, start_s=start_s) as service,
            service.client() as client,
        ):
            for _ in range(runs + 1):
                pixels = rng.integers(0, 256, side.input_shape, dtype=np.uint8)
                batch = plain.encoder.pad(plain.encoder.encode([pixels]))
                start = time.perf_counter()
                wanted = plain.forward(batch)
                clear.append(time.perf_counter() - start)
                logits, cost = client.infer(batch)
                assert np.abs(logits - wanted).max() < FAR, "far from the plain logits"
                moved = {
                    "bytes_client_to_server": cost.bytes_client_to_server,
                    "bytes_server_to_client": cost.bytes_server_to_client,
                    "messages": cost.messages,
                    "offline_bytes": cost.offline_bytes,
                }
                assert all(planned[key] == value for key, value in moved.items()), moved
                online.append(cost.online_seconds)
                offline.append(cost.offline_seconds)
    return {
        "network": name,
        "link": link,
        "online_predicted": round(found.online.seconds, 4),
        "online_measured": round(min(online[1:]), 4),
        "online_median": round(statistics.median(online[1:]), 4),
        "offline_predicted": round(found.offline_seconds, 4),
        "offline_measured": round(min(offline[1:]), 4),
        "plain_seconds": round(min(clear[1:]), 4),
        "runs": runs,
        **moved,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=[*NETWORKS])
    parser.add_argument("--links", nargs="+", choices=LINKS, default=[*LINKS])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--machine", type=Path, help="rates of `veilform bench machine`")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    rates, console = Machine.load(given.machine), Console()
    table = Table(*SHOWN)
    rows = []
    for name in given.networks:
        for link in given.links:
            rows.append(row(name, link, rates, given.runs, start_s=600.0))
            table.add_row(*(str(rows[-1][key]) for key in SHOWN))
            console.print(f"{name} over {link}: {rows[-1]['online_measured']} s online")
            if given.json:
                machine.save(given.json, "python " + " ".join(sys.argv), {"rows": rows})
    console.print(table)


if __name__ == "__main__":
    main()
