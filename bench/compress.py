"""MobileNetV2 on Fashion-MNIST by share of kept activations: accuracy against private time.

    python bench/compress.py train --out FOLDER             the first network, then each share
    python bench/compress.py time --out FOLDER              private inferences, all shares in turn
    python bench/compress.py agree 0.4 --out FOLDER         private against plain labels
    python bench/compress.py plot                           docs/figures/compress.png, and a table

What is finished is kept, in the folder and in bench/results/compress.json (or --results), and is
not done again. --shares trains some cells only, such as 0.4 or "1, fine-tuned"; 1 is the first.
Private runs are between a dealer, a server and a client over TLS on 127.0.0.1, each a few threads
of this process; shares are run in turn, so that a busy moment strikes all.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tables.compress import compress

from veilform.bench import machine
from veilform.correlation.store import StockStore
from veilform.models.sides import Shape
from veilform.models.vision.images import ImageBatch
from veilform.models.vision.plain import PlainNetwork
from veilform.models.vision.sides import ClientSide, ServerSide, publish
from veilform.plan.convolution import choose, dealer_free
from veilform.roles import CLIENT, DEALER, SERVER
from veilform.serve.client import Client
from veilform.serve.dealer import Dealer
from veilform.serve.masking import kept_in
from veilform.serve.served import Models
from veilform.serve.server import Server
from veilform.serve.service import Service
from veilform.transport import Identity, Listener, connect, create_deployment
from veilform.vision import data, folder
from veilform.vision.folder import Normal

RESULTS = Path(__file__).parent / "results" / "compress.json"
FIGURE = Path(__file__).parents[1] / "docs" / "figures" / "compress.png"
KEEPS = (0.4, 0.2, 0.6, 0.8)
"""In the order in which they are trained."""
WHOLE, CONTROL = "1", "1, fine-tuned"
"""The first network as it is; and after the others' fine-tuning, with nothing pruned."""
BASE_EPOCHS = 5
EXAMPLES, EPOCHS, LR = 30_000, 3, 0.05
EXACT = ("bytes_client_to_server", "bytes_server_to_client", "offline_bytes", "messages")


class Figures:
    """The file of the figures."""

    def __init__(self, path: Path = RESULTS) -> None:
        self.path = path

    def load(self) -> dict[str, Any]:
        """What was measured so far."""
        return json.loads(self.path.read_text()) if self.path.exists() else {"cells": {}}

    def save(self, found: dict[str, Any]) -> None:
        """Keep them, by falling share."""
        found.pop("machine", None)
        command = found.pop("command", "python bench/compress.py train|time|agree --out FOLDER")
        found["cells"] = dict(sorted(found["cells"].items(), key=_order))
        machine.save(self.path, command, found)


def _order(cell: tuple[str, Any]) -> tuple[float, str]:
    return -float(cell[0].split(",")[0]), cell[0]


def cell_of(out: Path, name: str) -> Path:
    """Where a cell's network is."""
    return out / ("base" if name == WHOLE else f"keep-{name.replace(', ', '-')}")


def train(out: Path, kept: Figures, shares: list[str], examples: int, epochs: int) -> None:
    """The first network, then one for each share."""
    import transformers
    from rich.console import Console

    from veilform.distill.progress import Bar
    from veilform.vision import compressing
    from veilform.vision.pruning import foreseen, inner_activations, saved_shares
    from veilform.vision.training import Stage

    transformers.utils.logging.disable_progress_bar()
    bar, pictures = Bar(Console()), data.load(data.FASHION)
    family = compressing.small_mobilenet(pictures.shape, len(pictures.classes))
    base = out / "base"
    if not (base / "training.json").exists():
        compressing.train(family, pictures, Stage("base", BASE_EPOCHS), base, (bar,))
    model = folder.read(base)
    found, recipe = kept.load(), compressing.Recipe(epochs=epochs, lr=LR)
    found["recipe"] = asdict(recipe) | {"examples": examples, "base_epochs": BASE_EPOCHS}
    whole = {"training": json.loads((base / "training.json").read_text()) | {"merged_blocks": []}}
    shape = family, model.tensors, model.normal.largest
    whole["cost"] = foreseen(*shape).total._asdict()
    whole["activations"], whole["bytes_saved"] = inner_activations(family), saved_shares(*shape)
    found["cells"] = {WHOLE: whole} | found["cells"]
    kept.save(found)
    for keep, name in [*((k, f"{k:g}") for k in KEEPS), (1.0, CONTROL)]:
        if name in kept.load()["cells"] or (shares and name not in shares):
            continue
        some = pictures.limited(examples)
        figures = compressing.compress(model, some, keep, recipe, cell_of(out, name), (bar,))
        alone = dealer_free(PlainNetwork.load(cell_of(out, name)).network)
        figures["dealer_free_bytes"] = (alone.adaptive + alone.others) // 8
        found = kept.load()
        found["cells"][name] = {"training": figures}
        kept.save(found)
        print(f"keep {name}: {figures['test']}, {figures['cost']}", flush=True)


@contextlib.contextmanager
def parties(folders: dict[str, Path], normal: Normal) -> Iterator[dict[str, Client]]:
    """A dealer, a server of all these models, and a client of each, over TLS."""
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="veilform-")))
        create_deployment(root / "certificates", days=2)
        mine = {
            role: Identity.load(root / "certificates", role) for role in (CLIENT, SERVER, DEALER)
        }
        at_dealer = Listener("127.0.0.1", 0, mine[DEALER])
        at_server = Listener("127.0.0.1", 0, mine[SERVER])
        dealer = Dealer()
        started = [_started(dealer.service(at_dealer))]
        sides = {}
        for name, path in folders.items():
            tiles = choose(PlainNetwork.load(path).network)
            sides[name] = ServerSide(path, normal.largest, tiles)
            publish(sides[name], root / "public" / name)
        store = StockStore(root / "server", SERVER)
        server = Server(
            Models(list(sides.values()), kept_in(root / "server")),  # type: ignore[arg-type]
            store,
            lambda: connect("127.0.0.1", at_dealer.port, mine[SERVER], DEALER),
        )
        server.register()
        started.append(_started(server.service(at_server)))
        clients = {}
        for name in folders:
            clients[name] = stack.enter_context(
                Client(
                    ClientSide(root / "public" / name),  # type: ignore[arg-type]
                    StockStore(root / "client" / name, CLIENT),
                    lambda: connect("127.0.0.1", at_server.port, mine[CLIENT], SERVER),
                    lambda: connect("127.0.0.1", at_dealer.port, mine[CLIENT], DEALER),
                )
            )
        yield clients
        for client in clients.values():
            client.close()
        for service, thread in reversed(started):
            service.stop()
            thread.join(5)
        server.close()


def _started(service: Service) -> tuple[Service, threading.Thread]:
    thread = threading.Thread(target=service.run, daemon=True)
    thread.start()
    return service, thread


def finished(out: Path, kept: Figures) -> dict[str, Path]:
    """Folders of the networks that are trained."""
    return {name: cell_of(out, name) for name in kept.load()["cells"]}


def measure(out: Path, kept: Figures, rounds: int) -> None:
    """Private inferences of one image by each network, in turn."""
    folders, normal = finished(out, kept), folder.read(out / "base").normal
    pictures = data.load(data.FASHION).test
    costs: dict[str, list[Any]] = {name: [] for name in folders}
    with parties(folders, normal) as clients:
        for i in range(rounds + 1):
            images = normalised(pictures.images[i : i + 1], normal)
            for name, client in clients.items():
                client.prepare(Shape(1, 1))
                _, cost = client.infer(ImageBatch(images))  # type: ignore[arg-type]
                if i:  # the first warms up
                    costs[name].append(cost)
            print(f"round {i} of {rounds}", flush=True)
    found = kept.load()
    for name, taken in costs.items():
        for exact in EXACT:
            assert len({getattr(cost, exact) for cost in taken}) == 1, exact
        online, offline = (
            [getattr(c, f"{p}_seconds") for c in taken] for p in ("online", "offline")
        )
        found["cells"][name]["private"] = {
            "online_seconds": round(min(online), 5),
            "median_online_seconds": round(statistics.median(online), 5),
            "offline_seconds": round(min(offline), 5),
            "rounds": rounds,
            **{exact: getattr(taken[0], exact) for exact in EXACT},
        }
    kept.save(found)


def agree(out: Path, kept: Figures, name: str, count: int, batch: int) -> None:
    """Private labels of held-out images against plain ones."""
    normal = folder.read(out / "base").normal
    path, split = finished(out, kept)[name], data.load(data.FASHION).test.first(count)
    plain, same, right, worst = PlainNetwork.load(path), 0, 0, 0.0
    with parties({name: path}, normal) as clients:
        for at in range(0, count, batch):
            images = normalised(split.images[at : at + batch], normal)
            wanted = plain.forward(images)
            logits, _ = clients[name].infer(ImageBatch(images))  # type: ignore[arg-type]
            same += int((logits.argmax(1) == wanted.argmax(1)).sum())
            right += int((logits.argmax(1) == split.labels[at : at + batch]).sum())
            worst = max(worst, float(np.abs(logits - wanted).max()))
            if at % (10 * batch) == 0:
                print(f"{at + len(images)} of {count}: {same} labels are equal", flush=True)
    found = kept.load()
    found["cells"][name]["agreement"] = {
        "images": count,
        "same_label": same,
        "share": same / count,
        "private_accuracy": right / count,
        "largest_logit_difference": round(worst, 6),
    }
    kept.save(found)
    print(found["cells"][name]["agreement"])


def normalised(pixels: np.ndarray, normal: Normal) -> np.ndarray:
    return (pixels / 255 - np.array(normal.mean)) / np.array(normal.std)


def plot(kept: Figures) -> None:
    """Accuracy against private time, one point for each share."""
    from veilform import plotting

    figure, axes = plotting.new(FIGURE, 6.4, 4)
    cells = {n: c for n, c in kept.load()["cells"].items() if "private" in c}
    seconds = [1e3 * cell["private"]["online_seconds"] for cell in cells.values()]
    accuracy = [100 * cell["training"]["test"]["accuracy"] for cell in cells.values()]
    axes.plot(seconds, accuracy, "o-", color="tab:blue")
    for name, x, y in zip(cells, seconds, accuracy, strict=True):
        axes.annotate(f"keep {name}", (x, y), xytext=(6, -12), textcoords="offset points")
    axes.set(
        xlabel="online time of one private image, ms (TLS, one machine)",
        ylabel="Fashion-MNIST, 10,000 test images, %",
        ylim=(min(accuracy) - 1, max(accuracy) + 1),
    )
    axes.set_xlim(0, 1.2 * max(seconds))
    axes.grid(alpha=0.3)
    plotting.save(figure, FIGURE)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["train", "time", "agree", "plot"])
    parser.add_argument("keep", nargs="?", help="the cell that `agree` is of, such as 0.4")
    parser.add_argument("--out", type=Path, help="folder of networks and checkpoints")
    parser.add_argument("--shares", nargs="*", default=[], help="cells to train (default all)")
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="training images of a share")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of fine-tuning")
    parser.add_argument("--rounds", type=int, default=10, help="of `time`")
    parser.add_argument("--count", type=int, default=1000, help="images of `agree`")
    parser.add_argument("--batch", type=int, default=8, help="images a run of `agree`")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file of the figures")
    options = parser.parse_args()
    kept = Figures(options.results)
    if options.what == "plot":
        plot(kept)
        print(compress(kept.load()))
    elif options.out is None:
        parser.error("--out is missing")
    elif options.what == "train":
        train(options.out, kept, options.shares, options.examples, options.epochs)
    elif options.what == "time":
        measure(options.out, kept, options.rounds)
    elif options.keep is None:
        parser.error("agree needs a share")
    else:
        agree(options.out, kept, options.keep, options.count, options.batch)


if __name__ == "__main__":
    main()
