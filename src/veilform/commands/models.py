"""Commands about a model: cost, check, calibrate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress
from rich.table import Table

from veilform.commands import console
from veilform.commands.console import Json, Model, Pairs
from veilform.errors import InputError


def cost(
    model: Model,
    seq: Annotated[
        int,
        typer.Option(help="Tokens, [CLS] and [SEP] included; padded to 16, 32, ... 512.", min=1),
    ],
    batch: Annotated[int, typer.Option(help="Texts in one run.", min=1, max=64)] = 1,
    private_embedding: Annotated[
        bool, typer.Option(help="Look words up under secure computation too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Messages, bytes and multiply-adds of one inference, from its trace alone: nothing is run."""
    from veilform.models.bert.sides import ServerSide, Shape
    from veilform.models.checkpoint import resolve
    from veilform.models.text import bucket
    from veilform.plan.cost import Report

    with console.step("reading the model", as_json):
        side = ServerSide(resolve(model), private_embedding, only_calibrated=False)
        length = bucket(seq, [scales.length for scales in side.scales.lengths])
        served = length <= side.calibrated
        report = Report(side.trace(Shape(batch, length)))
    if as_json:
        head = {"model": model, "seq": seq, "padded": length, "served": served, "batch": batch}
        console.print_json({**head, **report.as_dict()})
        return
    names = ("protocol", "runs", "up", "down", "offline", "multiply-adds")
    table = Table(*names, title=f"{model}, {length} tokens")
    for name, runs, total in report.by_protocol():
        work = total.client_multiply_adds + total.server_multiply_adds
        table.add_row(
            name, str(runs), _bytes(total.up), _bytes(total.down), _bytes(total.offline_bytes),
            f"{work / 1e6:,.0f} M" if work else "",
        )  # fmt: skip
    console.out.print(table)
    total = report.trace.total
    console.out.print(
        f"Online: {_bytes(report.up_bytes)} up, {_bytes(report.down_bytes)} down, "
        f"{report.trace.messages} messages, headers included.\n"
        f"Offline: {_bytes(total.dealt_server)} dealer to server, {_bytes(total.dealt_client)} "
        f"dealer to client, {_bytes(total.correction)} client to server.",
        highlight=False,
    )


def check(model: Model, as_json: Json = False) -> None:
    """Say whether a model can be served privately, and every reason why not."""
    from veilform.errors import ModelError
    from veilform.models.bert import validate
    from veilform.models.bert.calibration import CALIBRATION
    from veilform.models.bert.sides import ServerSide
    from veilform.models.checkpoint import resolve

    with console.step("checking", as_json):
        folder = resolve(model)
        problems = validate.examine(folder)
        if not problems and not (folder / CALIBRATION).is_file():
            problems = [
                f"it has no {CALIBRATION}: run `veilform calibrate` on it with typical texts"
            ]
        if not problems:
            try:
                ServerSide(folder)
            except ModelError as error:
                problems = [str(error)]
    if as_json:
        console.print_json({"model": model, "can_be_served": not problems, "problems": problems})
    elif problems:
        for problem in problems:
            console.out.print(f"- {problem}", markup=False, soft_wrap=True)
    else:
        console.out.print(f"{model} can be served privately.")
    if problems:
        raise typer.Exit(ModelError.exit_code)


def calibrate(
    folder: Annotated[Path, typer.Argument(help="A checkpoint folder of your own.")],
    texts: Annotated[Path, typer.Argument(help="A file of typical texts, one a line.")],
    pairs: Pairs = False,
) -> None:
    """Measure the ranges of a model's wires on typical texts, and keep them in calibration.json."""
    from veilform.models.bert.calibrate import calibrate as measure
    from veilform.models.bert.calibrate import read_texts
    from veilform.models.text import split_pairs

    lines = read_texts(texts)
    given: Sequence[bytes | tuple[bytes, bytes]] = split_pairs(lines, b"\t") if pairs else lines
    with Progress(console=console.err, disable=not console.err.is_terminal) as progress:
        task = progress.add_task("calibrating", total=len(lines))
        result = measure(
            folder, given, progress=lambda done, total: progress.update(task, completed=done)
        )
    try:
        result.save(folder)
    except OSError as error:
        raise InputError(f"cannot write into {folder}: {error.strerror}") from None
    console.out.print(f"Calibrated on {result.texts} texts; wrote {folder}/calibration.json.")


def _bytes(count: int) -> str:
    if count < 1000:
        return f"{count} B" if count else ""
    return f"{count / 1e3:,.1f} kB" if count < 1e6 else f"{count / 1e6:,.2f} MB"
