"""Commands that plan how training is spread over devices: ``veilform parallel``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import msgspec
import typer
from rich.table import Table

from veilform.commands import console
from veilform.commands.console import Json
from veilform.errors import InputError

if TYPE_CHECKING:
    from veilform.plan.parallel import LayerProfile, Mode, Plan

app = typer.Typer(no_args_is_help=True, help="Plan how training is spread over devices.")

ModeName = Annotated[
    str, typer.Option("--mode", help="Cost model: default, or published (the AMP paper's).")
]


@app.command()
def plan(
    profile: Annotated[Path, typer.Argument(help="File made by `veilform parallel profile`.")],
    cluster: Annotated[Path, typer.Argument(help="YAML file of the machines.")],
    batch: Annotated[int, typer.Option(help="Samples of one iteration.", min=1)],
    top: Annotated[int, typer.Option(help="Plans to show.", min=1)] = 10,
    mode: ModeName = "default",
    plot: Annotated[
        Path | None, typer.Option(help="Draw the best plan's timeline: .svg, .png or .pdf.")
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(help="Write the best plan of those with Transformer layers in each stage."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Rank ways to train a model on a cluster: tensor, data and pipeline parallel, cuts, places."""
    from veilform.plan.parallel import Cluster, LayerProfile, search
    from veilform.plan.parallel.timeline import draw

    layers, machines = LayerProfile.load(profile), Cluster.load(cluster)
    with console.step("searching", as_json) as tell:
        every = search(layers, machines, batch, cast("Mode", mode), progress=tell)
    plans = every[:top]
    if plot is not None:
        draw(plans[0], plot, f"{layers.name}, batch {batch}, on {machines.size} devices")
    if save is not None:
        runnable = (each.runnable(layers) for each in every)
        first = next((each for each in runnable if each is not None), None)
        if first is None:
            raise InputError("no plan has a Transformer layer in each stage, so none can be run")
        save.write_bytes(msgspec.json.encode(first) + b"\n")
    if as_json:
        console.print_json({
            "profile": layers.name, "mode": mode, "global_batch": batch,
            "plans": [each.as_dict() for each in plans],
        })  # fmt: skip
    else:
        _show(plans, layers, f"{layers.name}, batch {batch}, {machines.size} devices, {mode} model")


@app.command()
def profile(
    model: Annotated[Path, typer.Argument(help="Folder of a BERT-like model or GPT-2.")],
    out: Annotated[Path, typer.Option(help="File for the profile.")],
    seq: Annotated[int, typer.Option(help="Tokens of a sample.", min=1, max=8192)] = 128,
    tp: Annotated[str, typer.Option(help="Degrees of tensor parallelism.")] = "1,2,4",
    device: Annotated[
        str | None, typer.Option(help="What the profile calls this kind of device.")
    ] = None,
    repeats: Annotated[int, typer.Option(help="Timed runs of each layer.", min=1)] = 5,
    as_json: Json = False,
) -> None:
    """Time each layer's forward pass on this machine, at micro-batches 1, 2 and 4.

    Weights are random: only sizes matter. Tensor parallel t is emulated on one device, by a t-th
    of the heads and of the inner width; what devices exchange is not in it. Needs PyTorch.
    """
    from veilform.plan.parallel.measure import measure

    with console.step("timing layers", as_json) as tell:
        timed = measure(model, seq, _numbers(tp), device, repeats, tell)
    timed.save(out)
    rows = [
        {"device": t.device, "tp": t.tp, "micro_batch": t.micro_batch, "seconds": sum(t.seconds)}
        for t in timed.timings
    ]
    if as_json:
        console.print_json({"profile": str(out), "layers": len(timed.layers), "timings": rows})
        return
    table = Table("device", "tp", "micro-batch", "forward", title=f"{timed.name}, {seq} tokens")
    for row in rows:
        milliseconds = f"{1000 * float(cast('float', row['seconds'])):.2f} ms"
        table.add_row(str(row["device"]), str(row["tp"]), str(row["micro_batch"]), milliseconds)
    console.out.print(table)


@app.command()
def replay(
    trials: Annotated[Path, typer.Argument(help="JSON file of strategies and measured times.")],
    setting: Annotated[
        str, typer.Option(help="amp-homogeneous, amp-het-cluster or amp-het-model.")
    ],
    profiles: Annotated[Path, typer.Option(help="Folder of the paper's .npy profiles.")],
    mode: ModeName = "published",
    as_json: Json = False,
) -> None:
    """Predict the strategies of the AMP paper, and compare with its predictions and trials."""
    from veilform.plan.parallel import replay, settings

    chosen = settings.setting(setting)
    figures = replay.replay(
        replay.read(trials), chosen, chosen.profile(profiles), cast("Mode", mode)
    )
    if as_json:
        console.print_json(figures)
        return
    table = Table("", "", title=f"{setting}, {mode} model")
    for name, text in (
        ("n", "strategies"),
        ("max_abs_error", "largest difference from the listed predictions, seconds"),
        ("spearman", "rank correlation with the measured times"),
        ("top1_measured_s", "measured seconds of our first choice"),
        ("best_of_10_measured_s", "least of our first ten"),
    ):
        value = figures[name]
        table.add_row(text, "none" if value is None else f"{value:.6g}")
    console.out.print(table)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(sorted({int(each) for each in text.split(",")}))
    except ValueError:
        raise InputError(f"--tp is a list of numbers, such as 1,2,4, not {text}") from None


def _show(plans: list[Plan], profile: LayerProfile, title: str) -> None:
    columns = ("tp", "dp", "pp", "micro", "seconds", "steady", "fill", "sent", "finish", "GB")
    table = Table(*(_right(each) for each in columns), title=title)
    for each in plans:
        s, p = each.strategy, each.prediction
        seconds = (p.seconds, p.steady_s, p.fill_s, p.sent_s, p.finish_s)
        table.add_row(
            *(str(number) for number in (s.tp, s.dp, s.pp, s.micro_batch)),
            *(f"{value:.3f}" for value in seconds),
            f"{max(p.stage_bytes) / 1e9:.1f}",
        )
    console.out.print(table)
    best = plans[0].strategy
    stages = (f"{first}-{end - 1}" for first, end in best.stages())
    console.out.print(
        f"Best: layers of each stage {', '.join(stages)} of {len(profile.layers)}; devices by rank "
        f"(tp fastest, then dp, then pp) {', '.join(map(str, best.placement))}.",
        highlight=False,
    )


def _right(name: str) -> Any:
    from rich.table import Column

    return Column(name, justify="right")
