"""Commands about a model: cost, check, calibrate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress
from rich.table import Table

from veilform.commands import console, pictures
from veilform.commands.console import Json, Model, Pairs
from veilform.errors import InputError

if TYPE_CHECKING:
    from veilform.protocol.cost import Cost


def cost(
    model: Annotated[
        str,
        typer.Argument(
            help="A checkpoint folder, a shipped student, or the name of a network of random "
            "weights: resnet18, resnet32, mobilenet_v2."
        ),
    ],
    seq: Annotated[
        int | None,
        typer.Option(
            help="Of texts: tokens, [CLS] and [SEP] included; padded to 16, 32, ... 512.", min=1
        ),
    ] = None,
    batch: Annotated[int, typer.Option(help="Texts or images in one run.", min=1, max=64)] = 1,
    private_embedding: Annotated[
        bool, typer.Option(help="Look words up under secure computation too.")
    ] = False,
    by_operation: Annotated[
        bool, typer.Option("--by-operation", help="Rows are the model's operations.")
    ] = False,
    dealer_free: Annotated[
        bool,
        typer.Option(
            "--dealer-free",
            help="Also what an image model's convolutions would take without a dealer, by "
            "oblivious transfer (CoPriv's count).",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Messages, bytes and multiply-adds of one inference, from its trace alone: nothing is run."""
    from veilform.plan.cost import Report

    with console.step("reading the model", as_json):
        side = pictures.named_network(model) or console.read_side(model, private_embedding)
        both = pictures.two_settings(side) if dealer_free else None
        shape = side.run_shape(batch, seq)
        served = shape.length <= side.calibrated
        report = Report(side.trace(shape))
    if as_json:
        head = {
            "model": model, "seq": seq, "padded": shape.length, "served": served, "batch": batch,
        }  # fmt: skip
        more = {} if both is None else {"without_dealer": both.as_dict()}
        console.print_json({**head, **report.as_dict(), **more})
        return
    first = "operation" if by_operation else "protocol"
    what = f"{shape.length} tokens" if seq else side.takes
    table = Table(first, "runs", "up", "down", "offline", "multiply-adds", title=f"{model}, {what}")
    for row in report.by_operation() if by_operation else report.by_protocol():
        table.add_row(*_cells(*row))
    console.out.print(table)
    total = report.trace.total
    console.out.print(
        f"Online: {_bytes(report.up_bytes)} up, {_bytes(report.down_bytes)} down, "
        f"{report.trace.messages} messages, headers included.\n"
        f"Offline: {_bytes(total.dealt_server)} dealer to server, {_bytes(total.dealt_client)} "
        f"dealer to client, {_bytes(total.correction)} client to server.",
        highlight=False,
    )
    if both is not None:
        pictures.show_settings(both)


def _cells(name: str, runs: int, total: Cost) -> tuple[str, ...]:
    work = total.client_multiply_adds + total.server_multiply_adds
    moved = (total.up, total.down, total.offline_bytes)
    return (name, str(runs), *map(_bytes, moved), f"{work / 1e6:,.0f} M" if work else "")


def check(model: Model, as_json: Json = False) -> None:
    """Say whether a model can be served privately, and every reason why not."""
    from veilform.errors import ModelError
    from veilform.models import families
    from veilform.models.checkpoint import resolve

    with console.step("checking", as_json):
        problems = families.examine(resolve(model))
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
    texts: Annotated[
        Path | None, typer.Argument(help="A file of typical texts, one a line.")
    ] = None,
    pairs: Pairs = False,
    images: Annotated[
        str | None,
        typer.Option(
            help="Of an image model, instead of texts: a folder of typical pictures, an IDX file, "
            "or fashion_mnist."
        ),
    ] = None,
    count: Annotated[int, typer.Option(help="Pictures to use; 0: all.", min=0)] = 256,
    as_json: Json = False,
) -> None:
    """Measure the ranges of a model on typical inputs, and keep them in its folder.

    Of texts: of all wires, in calibration.json. Of images: where ReLUs are clipped, in clips.json,
    and how each convolution is computed, in winograd.json.
    """
    if (texts is None) == (images is None):
        raise InputError("give a file of texts or, for an image model, --images")
    if images is not None:
        pictures.calibrate(folder, images, count, as_json)
        return
    assert texts is not None
    from veilform.models import families
    from veilform.models.bert.calibrate import calibrate as measure
    from veilform.models.bert.calibrate import read_texts
    from veilform.models.text import split_pairs

    families.require_texts(folder, "calibrated with texts")
    lines = read_texts(texts)
    given: Sequence[bytes | tuple[bytes, bytes]] = split_pairs(lines, b"\t") if pairs else lines
    with Progress(console=console.err, disable=as_json or not console.err.is_terminal) as progress:
        task = progress.add_task("calibrating", total=len(lines))
        result = measure(
            folder, given, progress=lambda done, total: progress.update(task, completed=done)
        )
    try:
        result.save(folder)
    except OSError as error:
        raise InputError(f"cannot write into {folder}: {error.strerror}") from None
    if as_json:
        console.print_json({"model": str(folder), "texts": result.texts})
        return
    console.out.print(f"Calibrated on {result.texts} texts; wrote {folder}/calibration.json.")


def _bytes(count: int) -> str:
    if count < 1000:
        return f"{count} B" if count else ""
    return f"{count / 1e3:,.1f} kB" if count < 1e6 else f"{count / 1e6:,.2f} MB"
