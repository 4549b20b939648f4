"""The command that measures models on data: evaluate."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress
from rich.table import Table

from veilform.commands import console
from veilform.commands.console import Json, Model, Ray
from veilform.errors import InputError

if TYPE_CHECKING:
    from veilform.evaluation import Evaluator
    from veilform.spread.answering import Where


def evaluate(
    model: Model,
    data: Annotated[
        str,
        typer.Option(
            help="Of texts: CSV, TSV or JSONL file; or a GLUE task, rotten_tomatoes or imdb. Of "
            "images: a folder with a folder of pictures for each label, an IDX file of images with "
            "its labels beside it, or fashion_mnist."
        ),
    ],
    private: Annotated[
        int, typer.Option(help="How many of the inputs to run privately too.", min=0)
    ] = 0,
    batch: Annotated[
        int,
        typer.Option(help="Inputs in a private run; fewer where their stock is too large.", min=1),
    ] = 8,
    glue_dir: Annotated[Path | None, typer.Option(help="Folder with GLUE's files.")] = None,
    count: Annotated[int, typer.Option(help="Use the first inputs only; 0: all.", min=0)] = 0,
    server: Annotated[
        str | None, typer.Option(help="host:port of a running service; else one is started here.")
    ] = None,
    dealer: Annotated[str | None, typer.Option(help="host:port of its dealer.")] = None,
    public: Annotated[
        Path | None, typer.Option(help="Its folder for clients, as `veilform export` made it.")
    ] = None,
    certificates: Annotated[
        Path | None, typer.Option(help="This client's folder of `veilform keys`.")
    ] = None,
    stock: Annotated[
        Path | None, typer.Option(help="Folder for the stocks of this run; kept private.")
    ] = None,
    ray: Ray = None,
    workers: Annotated[
        int, typer.Option(help="With --ray: clients at a time; 0: one a processor.", min=0)
    ] = 0,
    as_json: Json = False,
) -> None:
    """Score a model on labelled inputs, in the clear and, with --private, privately beside it.

    With --ray, each worker is a client, with a dealer and a server of its own beside it or, with
    --server, of the service there. Models, folders and certificates are read on the worker's node.
    """
    from veilform.evaluation import compare
    from veilform.models import families
    from veilform.models.answers import CLASSIFICATION, IMAGES
    from veilform.models.checkpoint import resolve
    from veilform.spread import trust
    from veilform.spread.cluster import Cluster

    where = _service(model, server, dealer, public, certificates, stock)
    if ray:
        trust.check(ray, os.environ)
    folder = resolve(model)
    config = families.described(folder)
    if config.task == IMAGES.name:
        unit, (evaluator, metrics) = "image", _of_images(folder, data, config.labels, count)
    else:
        CLASSIFICATION.require(config)
        unit, (evaluator, metrics) = "text", _of_texts(folder, data, config.labels, count, glue_dir)
    with (
        contextlib.ExitStack() as stack,
        Progress(console=console.err, disable=as_json or not console.err.is_terminal) as bar,
    ):
        tasks: dict[str, Any] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done)

        plain, secret = evaluator.plain(progress), None
        if private:
            cluster = stack.enter_context(Cluster(ray, workers)) if ray else None
            secret = evaluator.private(private, progress, batch, where, cluster)
    figures = compare(metrics, evaluator.labels, plain, secret, unit)
    if as_json:
        console.print_json({"model": model, "data": data, **figures})
        return
    rows = {f"plain, {figures[f'{unit}s']} {unit}s": figures["plain"]}
    secretly = figures.get("private")
    if secretly and "scores" in secretly:
        answered = secretly[f"{unit}s"] - secretly["without_answer"]
        rows[f"private, {answered} {unit}s"] = secretly["scores"]
        rows[f"plain, the same {unit}s"] = secretly["plain_same"]
    show_scores(f"{model} on {data}", rows)
    if secretly:
        _show_agreement(secretly, unit)


def _of_texts(
    folder: Path, data: str, labels: tuple[str, ...], count: int, glue_dir: Path | None
) -> tuple[Evaluator, Sequence[str]]:
    """An evaluator, and the names of its metrics."""
    from veilform.distill import sources
    from veilform.evaluation import Evaluator, held_out

    splits = sources.for_model(data, labels if len(labels) > 1 else None, glue_dir)
    examples = held_out(splits)[: count or None]
    return Evaluator.of_texts(folder, examples), splits.task.metrics


def _of_images(
    folder: Path, data: str, labels: tuple[str, ...], count: int
) -> tuple[Evaluator, Sequence[str]]:
    """The same of labelled pictures."""
    from veilform.evaluation import Evaluator
    from veilform.vision import datasets

    found = datasets.labelled(data, labels, count)
    return Evaluator(folder, found.images, found.labels), ("accuracy",)


def _service(
    model: str,
    server: str | None,
    dealer: str | None,
    public: Path | None,
    certificates: Path | None,
    stock: Path | None,
) -> Where:
    """Which service answers: one that runs, or one of its own beside each client."""
    from veilform.spread import answering

    if not (server or dealer or public or certificates or stock):
        return answering.own(model)
    if not (server and dealer and public and certificates and stock):
        raise InputError(
            "a running service needs --server, --dealer, --public, --certificates and --stock"
        )
    return answering.running(public, server, dealer, certificates, stock)


def show_scores(title: str, rows: dict[str, dict[str, float]]) -> None:
    """A table with a row for each part of the data."""
    names = list(next(iter(rows.values())))
    table = Table("", *names, title=title)
    for name, scores in rows.items():
        table.add_row(name, *(f"{scores[metric]:.4f}" for metric in names))
    console.out.print(table)


def _show_agreement(figures: dict[str, Any], unit: str) -> None:
    lines = []
    if figures["without_answer"]:
        lines.append(f"{figures['without_answer']} {unit}s left the calibrated ranges: no answer.")
    if "agreement" in figures:
        lines.append(f"{100 * figures['agreement']:.2f} % of private answers equal the plain ones.")
    if "largest_logit_difference" in figures:
        lines.append(f"Largest difference of a logit: {figures['largest_logit_difference']:.4f}.")
    for length, costs in figures.get("by_length", {}).items():
        lines.append(
            f"{f'{length} tokens: ' if unit == 'text' else ''}"
            f"{costs[f'online_seconds_a_{unit}']:.3f} s online and "
            f"{costs[f'offline_seconds_a_{unit}']:.3f} s offline each, "
            f"{costs[f'{unit}s']} {unit}s."
        )
    console.out.print("\n".join(lines), highlight=False)
