"""Every function that a model may have: its error, and what it costs in a layer of BERT-base.

    python bench/approximations.py                                            a table
    python bench/approximations.py --json bench/results/approximations.json   and the figures

The error is the largest difference between the secure function, run by both parties in this
process, and the plain one, on a grid over the domain. The cost is that of one encoder layer of
BERT-base's sizes on 128 tokens, random weights, with the one function in place of Quad or 2Quad:
three processes over TLS on loopback. What is listed is the function's own part of it.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from veilform import fixed, prg
from veilform.approx import registry
from veilform.approx.entry import Activation, Attention, Elementwise, Masking, Scored
from veilform.bench import machine
from veilform.bench.inference import Setting, measure
from veilform.drive.lockstep import deal_stocks, run
from veilform.drive.trace import trace
from veilform.nn.scales import HIDDEN, SCORE
from veilform.plan.presets import preset
from veilform.protocol.effects import Protocol
from veilform.protocol.party import Party
from veilform.protocol.share import mask_private, preshare
from veilform.ring import signed
from veilform.roles import CLIENT, SERVER
from veilform.shapes import Abstract
from veilform.values import Additive, Opened

LENGTH = 128
BOUND = 5
"""Inputs up to 2^5 in magnitude: about what the weights of the shipped student allow."""
RING = 40
ROWS = 64
SPREADS = (1.0, 2.0, 4.0)
"""Standard deviations of the scores of a row; they are cut at the domain."""
OPERATION = {Activation: "activation", Attention: "attention function"}


def error(entry: Activation | Attention) -> float:
    """Largest difference from the plain function, over the domain."""
    if isinstance(entry, Activation):
        reach = min(entry.domain, 2.0**BOUND - 0.01 - abs(entry.fold.shift))
        x = np.linspace(-reach, reach, 1 << 14)
        plan = Elementwise(HIDDEN, BOUND, HIDDEN, RING)
        inner = BOUND + HIDDEN + 2 + entry.room
        secure = entry.secure
        assert secure is not None

        def activate(me: Party, given: Any, _: Opened) -> Protocol[Additive]:
            held = yield from preshare(me, Additive(given, inner))
            return (yield from secure(me, held, plan, []))

        found = _run(activate, fixed.encode(x + entry.fold.shift, HIDDEN)) * 2.0**-HIDDEN
        found = found / 2**entry.fold.halvings + entry.fold.offset
        return float(np.abs(found - entry.plain(x)).max())
    reach = min(entry.domain, 2.0**BOUND - 0.01 - abs(entry.offset))
    rng = np.random.default_rng(0)
    rows = [rng.normal(0, spread, (ROWS, LENGTH)) for spread in SPREADS]
    scores = np.clip(np.concatenate(rows), -reach, reach).reshape(1, 1, -1, LENGTH)
    plan = Scored(SCORE, BOUND, entry.scale, RING, LENGTH)
    ring = BOUND + SCORE + 2 + entry.room
    attend = entry.secure
    assert attend is not None

    def weigh(me: Party, given: Any, keys: Opened) -> Protocol[Additive]:
        padding = me.zeros((1, 1, 1, LENGTH)) if me.role is CLIENT else None
        masking = Masking(keys, MASK_BITS, padding)
        return (yield from attend(me, Additive(given, ring), plan, masking, []))

    found = _run(weigh, fixed.encode(scores + entry.offset, SCORE)) * 2.0**-entry.scale
    if entry.numerators is not None:
        found = found / (found.sum(-1, keepdims=True) + entry.epsilon * LENGTH)
    return float(np.abs(found - entry.plain(scores, np.ones((1, 1, 1, LENGTH)))).max())


def from_exact(entry: Activation | Attention) -> float:
    """How far the plain function is from GELU or softmax, at most.

    From GELU on [-4, 4]; a weight from softmax's on rows of standard normal scores.
    """
    if isinstance(entry, Activation):
        x = np.linspace(-4, 4, 4001)
        return float(np.abs(entry.plain(x) - registry.activation("gelu").plain(x)).max())
    scores = np.random.default_rng(1).normal(0, 1, (256, LENGTH))
    mask = np.ones((1, LENGTH))
    return float(
        np.abs(entry.plain(scores, mask) - registry.attention("softmax").plain(scores, mask)).max()
    )


MASK_BITS = (LENGTH - 1).bit_length() + 3
Program = Callable[[Party, Any, Opened], Protocol[Additive]]


def _run(program: Program, given: Any) -> np.ndarray:
    """The joined result of a program on the client's input and a mask without padding."""
    mask = np.full((1, 1, LENGTH, 1), round(2**MASK_BITS / LENGTH), np.uint64)

    def of(x: Any, keys: Any) -> Callable[[Party], Protocol[Additive]]:
        def party(me: Party) -> Protocol[Additive]:
            mine = me.role is CLIENT
            masked = yield from mask_private(me, keys if mine else None, mask.shape, RING)
            return (yield from program(me, x if mine else me.zeros(given.shape), masked))

        return party

    manifest = trace(of(Abstract(given.shape), Abstract(mask.shape))).manifest("bench", 1, LENGTH)
    seeds = {role: prg.fresh_seed() for role in (CLIENT, SERVER)}
    stocks = deal_stocks(manifest, common={}, masked={}, seeds=seeds)
    ran = run({role: of(given, mask) for role in (CLIENT, SERVER)}, stocks)
    ours, theirs = ran.results[CLIENT], ran.results[SERVER]
    return signed(ours.share + theirs.share, ours.bits)


def in_a_layer(entry: Activation | Attention, runs: int) -> dict[str, Any]:
    """Bytes, messages and seconds of the function in one layer of BERT-base."""
    names = {"activation": "quad", "attention": "2quad"}
    names["activation" if isinstance(entry, Activation) else "attention"] = entry.name
    shape = preset("bert-base").with_layers(1).with_functions(**names)
    figures = measure(Setting(shape, LENGTH, runs=runs))
    operation = OPERATION[type(entry)]
    cost = figures["cost_by_operation"][operation]
    return {
        "messages": figures["messages"],
        "online_bytes": cost["up"] + cost["down"],
        "offline_bytes": cost["dealt_client"] + cost["dealt_server"] + cost["correction"],
        "online_seconds": figures["online_seconds_by_operation"][operation],
        "layer_online_seconds": figures["online_seconds"],
        "layer_offline_seconds": figures["offline_seconds"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=sorted(registry.ENTRIES), metavar="NAME")
    parser.add_argument("--runs", type=int, default=5, help="timed runs each (default 5)")
    parser.add_argument("--errors-only", action="store_true", help="no timing")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    entries = [registry.get(name) for name in options.only or registry.ENTRIES]
    console = Console(stderr=True)
    rows: list[dict[str, Any]] = []
    with Progress(console=console, disable=not console.is_terminal) as progress:
        for entry in progress.track(entries, description="functions"):
            if entry.secure is None:
                continue
            kind = "activation" if isinstance(entry, Activation) else "attention"
            domain = entry.domain if math.isfinite(entry.domain) else "any"
            row = {"name": entry.name, "kind": kind, "error": error(entry), "domain": domain,
                   "from_exact": from_exact(entry), "source": entry.source}  # fmt: skip
            rows.append(row | ({} if options.errors_only else in_a_layer(entry, options.runs)))
    table = Table(*(key for key in rows[0] if key != "source"))
    for row in rows:
        table.add_row(*(_shown(value) for key, value in row.items() if key != "source"))
    Console().print(table)
    if options.json:
        machine.save(options.json, " ".join(["python", *sys.argv]), {"functions": rows})


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    main()
