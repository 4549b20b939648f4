"""``veilform plan``: what a model will take, and which functions make it fast enough."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from veilform.commands import console, pictures
from veilform.commands.console import Json
from veilform.commands.quantizing import BITS, Weights
from veilform.errors import InputError

if TYPE_CHECKING:
    from veilform.models.sides import ServerSide
    from veilform.plan.presets import ModelShape
    from veilform.plan.private.budget import Mix
    from veilform.plan.private.candidates import Where
    from veilform.plan.private.estimate import Estimate

SHOWN = 12
TOKENS = 64
"""Of a text, if nothing else is said."""


def plan(
    model: Annotated[
        str,
        typer.Argument(
            help="A checkpoint folder, a shipped student, or the name of a shape: minilm-l6, "
            "bert-base, bert-large, roberta-base; of images: resnet18, resnet32, mobilenet_v2."
        ),
    ],
    link: Annotated[
        str,
        typer.Option(
            help="Between each two parties: loopback, lan (1 Gbit/s, 1 ms round trip), wan "
            "(200 Mbit/s, 40 ms), or your own, as 300mbit/25ms."
        ),
    ] = "lan",
    seq: Annotated[
        int | None,
        typer.Option(
            help=f"Of texts: tokens, {TOKENS} by default; padded to 16, 32, ... 512.",
            min=3,
            max=512,
        ),
    ] = None,
    batch: Annotated[int, typer.Option(help="Texts or images in one run.", min=1, max=64)] = 1,
    act: Annotated[
        str | None,
        typer.Option(help="Another activation; for layers that differ, one for each: a,b,c."),
    ] = None,
    attention: Annotated[str | None, typer.Option(help="Another attention, likewise.")] = None,
    weights: Annotated[
        Weights | None, typer.Option(help="Bits of the layers' weights: see `veilform quantize`.")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Choose functions, layer by layer, that answer within this time (as 2s or "
            "350ms) and change the model least."
        ),
    ] = None,
    machine: Annotated[
        Path | None,
        typer.Option(help="Rates of your machine, by `veilform bench machine`."),
    ] = None,
    apart: Annotated[
        bool, typer.Option("--apart", help="Each party has a machine of its own.")
    ] = False,
    price: Annotated[
        float, typer.Option(help="Dollars an hour of each party's machine.", min=0)
    ] = 0.085,
    egress: Annotated[float, typer.Option(help="Dollars a GB sent.", min=0)] = 0.09,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the frontier of --budget: .svg, .png or .pdf.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Predict seconds, bytes and dollars of a private inference; nothing is run.

    Bytes and messages are exact. Seconds are of the machine whose rates are used. A name of a
    shape, or functions other than the checkpoint's own, are planned with random weights.
    """
    from veilform.plan.private.candidates import Where
    from veilform.plan.private.estimate import estimate
    from veilform.plan.private.machine import Machine
    from veilform.plan.private.money import Prices
    from veilform.plan.random_model import random_side
    from veilform.transport import links

    if plot and not budget:
        raise InputError("--plot draws the frontier of --budget: give a budget, too")
    seconds = None if budget is None else duration(budget)
    rates, over = Machine.load(machine), links.parse(link)
    with console.step("reading the model", as_json) as tell:
        shape, side = _read(model)
        mixes: list[Mix] = []
        if shape is None:
            if act or attention or weights is not None or seconds is not None:
                raise InputError("--act, --attention, --weights and --budget are of text models")
        else:
            seq = TOKENS if seq is None else seq
            if act or attention:
                shape = shape.with_functions(act or shape.activation, attention or shape.attention)
                side = None
            if weights is not None:
                shape, side = shape.with_weights(BITS[weights]), None
            where = Where(rates, over, seq, batch, apart)
            if seconds is not None:
                mixes, shape, side = _within(shape, where, seconds, tell)
            if side is None:
                tell("tracing a model of random weights")
                side = random_side(shape, seq)
        assert side is not None
        prices = Prices(price, egress)
        found = estimate(side, side.run_shape(batch, seq), rates, over, prices, apart=apart)
    layers = [] if shape is None else _layers(shape)
    title = f"{model}, {side.takes if seq is None else f'{seq} tokens'}, {link}"
    if plot:
        draw(mixes, found.online.seconds, title, plot)
    if as_json:
        head = {"model": model, "link": link, "seq": seq, "batch": batch, "machine": rates.name}
        console.print_json({**head, "layers": layers, **found.as_dict(), **_frontier(mixes)})
    else:
        _show(title, rates.name, found, layers, mixes)


def duration(text: str) -> float:
    """Seconds of ``2s``, ``350ms`` or a bare number of seconds.

    Raises:
        InputError: it is none of these, or not above zero.
    """
    number, factor = text.strip(), 1.0
    if number.endswith("ms"):
        number, factor = number[:-2], 1e-3
    elif number.endswith("s"):
        number = number[:-1]
    try:
        seconds = float(number) * factor
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise InputError(f"{text!r} is no time: write 2s or 350ms")
    return seconds


def _read(model: str) -> tuple[ModelShape | None, ServerSide | None]:
    """The shape of a text model, and, unless it is only that, the model as its server holds it."""
    from veilform.models.bert.config import BertConfig
    from veilform.plan.presets import PRESETS, ModelShape

    if model in PRESETS:
        return PRESETS[model], None
    side = pictures.named_network(model) or console.read_side(model)
    if isinstance(side.config, BertConfig):  # whose functions can be exchanged
        return ModelShape.of_config(model, side.config), side
    return None, side


def _within(
    shape: ModelShape, where: Where, seconds: float, tell: Callable[[str], None]
) -> tuple[list[Mix], ModelShape, ServerSide]:
    """The frontier; the mix of least change that is in time when traced whole, and its model.

    Sums over layers are off by what rings differ by, so the first that fits by its sum may not.
    """
    from veilform.plan.private.budget import cheapest, frontier
    from veilform.plan.private.candidates import choices
    from veilform.plan.private.candidates import seconds as whole
    from veilform.plan.random_model import random_side

    around, layers = choices(shape, where, tell)
    mixes = frontier(around, layers)
    limit, mix = seconds, cheapest(mixes, seconds)
    while True:
        tell("tracing a mix")
        mixed = shape.with_functions(",".join(mix.activations), ",".join(mix.attentions))
        side = random_side(mixed, where.length)
        excess = whole(side, where) - seconds
        if excess <= 0:
            return mixes, mixed, side
        limit = min(limit, mix.seconds) - excess
        if limit < mixes[0].seconds:
            raise InputError(f"no mix answers within {seconds:.3g} s: this is {excess:.2g} s short")
        mix = cheapest(mixes, limit)


def draw(mixes: list[Mix], chosen: float, title: str, path: Path) -> None:
    """The frontier: what change buys what time."""
    from veilform import plotting

    figure, axes = plotting.new(path)
    axes.plot(
        [mix.seconds for mix in mixes], [mix.change for mix in mixes], ".-", label="best mixes"
    )
    axes.axvline(chosen, color="tab:orange", label=f"chosen: {chosen:.3g} s")
    axes.set(xlabel="seconds online", ylabel="change, summed over layers", title=title)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.legend()
    plotting.save(figure, path)


def _layers(shape: ModelShape) -> list[dict[str, str]]:
    return [
        {"activation": activation, "attention": attention}
        for activation, attention in shape.functions
    ]


def _frontier(mixes: list[Mix]) -> dict[str, Any]:
    rows = [{"seconds": round(mix.seconds, 6), "change": round(mix.change, 6)} for mix in mixes]
    return {"frontier": rows} if rows else {}


def _show(
    title: str, machine: str, found: Estimate, layers: list[dict[str, str]], mixes: list[Mix]
) -> None:
    table = Table(title=title)
    for name in ("operation", "computing", "waiting", "up", "down", "offline"):
        table.add_column(name, justify="left" if name == "operation" else "right")
    rows = found.by_operation()
    for name, computing, waiting, cost in rows:
        table.add_row(
            name, f"{computing:.3f} s", f"{waiting:.3f} s", _mb(cost.up), _mb(cost.down),
            _mb(cost.offline_bytes),
        )  # fmt: skip
    console.out.print(table)
    waiting = sum(row[2] for row in rows)
    dominates = "the link" if waiting > sum(row[1] for row in rows) else "computing"
    report = found.report
    lines = [
        f"Online {found.online.seconds:.3f} s, offline {found.offline_seconds:.3f} s; "
        f"{rows[0][0]} takes most, and {dominates} dominates.",
        f"{_mb(report.up_bytes)} up, {_mb(report.down_bytes)} down, {report.trace.messages} "
        f"messages; {_mb(report.trace.total.offline_bytes)} offline.",
        f"{1000 * found.dollars.total:.3g} dollars a thousand runs: "
        f"{1000 * found.dollars.computing:.3g} computing, "
        f"{1000 * found.dollars.egress:.3g} egress.",
        f"Seconds as on: {machine}.",
    ]
    if mixes:
        lines += ["", "Layer by layer:"]
        lines += [
            f"  {i}: {layer['activation']}, {layer['attention']}" for i, layer in enumerate(layers)
        ]
        lines += ["", f"The frontier has {len(mixes)} mixes; some of them:"]
        some = mixes[:: max(1, len(mixes) // SHOWN)]
        lines += [f"  {mix.seconds:.3f} s  change {mix.change:.3f}" for mix in some]
    console.out.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def _mb(count: int) -> str:
    return f"{count / 1e6:.2f} MB"
