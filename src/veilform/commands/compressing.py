"""The commands that make image models: train-images and compress."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from veilform.commands import console, pytorch
from veilform.commands.console import Json
from veilform.errors import InputError

Data = Annotated[
    str,
    typer.Option(
        help="fashion_mnist; or a folder with train/CLASS/*.png; or an .npz file with images and "
        "labels. See docs/compression.md."
    ),
]
Out = Annotated[Path, typer.Option(help="Folder for the network; made if it is not there.")]
Rate = Annotated[float, typer.Option(help="The largest learning rate; it falls as a cosine.")]
Batch = Annotated[int, typer.Option(help="Pictures in a step.", min=2)]
Seed = Annotated[int, typer.Option(help="Of order and random weights.", min=0, max=2**32 - 1)]
Examples = Annotated[int | None, typer.Option(help="Train with so many pictures at most.", min=8)]
Threads = Annotated[int, typer.Option(help="CPU threads; 0: all.", min=0)]


def train_images(
    out: Out,
    data: Data = "fashion_mnist",
    config: Annotated[
        Path | None,
        typer.Option(
            help="Folder with a config.json of another network (resnet, mobilenet_v2); "
            "without it, a MobileNetV2 of eight blocks."
        ),
    ] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the pictures.", min=1)] = 10,
    lr: Rate = 0.1,
    batch_size: Batch = 64,
    seed: Seed = 1,
    examples: Examples = None,
    threads: Threads = 0,
    as_json: Json = False,
) -> None:
    """Train a convolution network on labelled pictures, to be compressed or served privately.

    Interrupted, it goes on after the last full epoch when called again.
    """
    from veilform.models.vision.config import classifier, read
    from veilform.vision.data import load

    family = None if config is None else classifier(read(config))
    with console.step("reading pictures", as_json):
        shape = None if family is None else (family.height, family.width, family.channels)
        pictures = load(data, shape).limited(examples)
    if family is not None and family.classes != len(pictures.classes):
        raise InputError(f"{data} has {len(pictures.classes)} classes, but the network of {config} "
                         f"has {family.classes}")  # fmt: skip
    bar = pytorch.ready("training image models", threads)
    from veilform.vision import compressing
    from veilform.vision.training import Stage

    family = family or compressing.small_mobilenet(pictures.shape, len(pictures.classes))
    stage = Stage("base", epochs, lr, batch_size, seed)
    with console.step("training", as_json) as tell:
        figures = compressing.train(family, pictures, stage, out, (bar,), tell)
    if as_json:
        console.print_json(figures)
        return
    found = figures["test"]
    console.out.print(
        f"{100 * found['accuracy']:.2f} % of {found['pictures']} held-out pictures are right.\n"
        f"Wrote {out}. Make it quicker in private: veilform compress {out} --out FOLDER",
        highlight=False,
        markup=False,
    )


def compress(
    model: Annotated[
        Path, typer.Argument(help="Folder of a MobileNetV2, as `veilform train-images` writes it.")
    ],
    out: Out,
    keep: Annotated[
        float, typer.Option(help="Share of the activations inside blocks that stays.", min=0, max=1)
    ] = 0.6,
    data: Data = "fashion_mnist",
    search_epochs: Annotated[
        int, typer.Option(help="Of the search for blocks that need their activations.", min=1)
    ] = 1,
    epochs: Annotated[int, typer.Option(help="Of fine-tuning.", min=1)] = 4,
    lr: Rate = 0.1,
    penalty: Annotated[
        float, typer.Option(help="Weight of a block's share of online bytes in the search.", min=0)
    ] = 0.1,
    distilled: Annotated[
        float, typer.Option(help="Weight of the first network's logits.", min=0, max=1)
    ] = 0.7,
    batch_size: Batch = 64,
    seed: Seed = 1,
    examples: Examples = None,
    threads: Threads = 0,
    as_json: Json = False,
) -> None:
    """Make an image model quicker in private: fewer activations, blocks merged into convolutions.

    Interrupted, it goes on after the last full epoch when called again.
    """
    from veilform.models.vision.merging import prunable
    from veilform.vision import folder
    from veilform.vision.data import load

    found = folder.read(model)
    family = prunable(found.family)
    with console.step("reading pictures", as_json):
        shape = family.height, family.width, family.channels
        pictures = load(data, shape).limited(examples)
    if family.classes != len(pictures.classes):
        raise InputError(f"{data} has {len(pictures.classes)} classes, but {model} has "
                         f"{family.classes}")  # fmt: skip
    bar = pytorch.ready("training image models", threads)
    from veilform.vision import compressing

    recipe = compressing.Recipe(
        search_epochs=search_epochs, epochs=epochs, lr=lr, penalty=penalty, distilled=distilled,
        batch_size=batch_size, seed=seed,
    )  # fmt: skip
    with console.step("training", as_json) as tell:
        figures = compressing.compress(found, pictures, keep, recipe, out, (bar,), tell)
    if as_json:
        console.print_json(figures)
        return
    console.out.print(_table(figures))
    console.out.print(f"Wrote {out}.", highlight=False, markup=False)


def _table(figures: dict[str, Any]) -> Table:
    merged = ", ".join(map(str, figures["merged_blocks"])) or "none"
    table = Table("", "before", "after", title=f"keep {figures['keep']:g}, merged blocks: {merged}")
    accuracy = (f"{100 * figures[name]['accuracy']:.2f} %" for name in ("teacher_test", "test"))
    table.add_row("held-out pictures right", *accuracy)
    for name in figures["cost"]:
        table.add_row(
            name.replace("_", " ") + ", one image",
            *(f"{figures[cost][name]:,}" for cost in ("teacher_cost", "cost")),
        )
    return table
