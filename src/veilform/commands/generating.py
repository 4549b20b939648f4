"""DC-VAE, a generative autoencoder: fit, sample, reconstruct, interpolate, evaluate.

What clients ask of a service is in ``drawing``. PyTorch is loaded by commands that run the model
here, after all that can be wrong with options was said.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from veilform.commands import console, drawing
from veilform.commands.console import Json
from veilform.commands.drawing import GRID_COLUMNS, Scale
from veilform.errors import InputError

if TYPE_CHECKING:
    from veilform.vision.dcvae.images import Images
    from veilform.vision.dcvae.model import DCVAE

app = typer.Typer(no_args_is_help=True, help="DC-VAE: images from latents, and latents of images.")

Folder = Annotated[Path, typer.Argument(help="The folder that `veilform dcvae fit` wrote.")]
Source = Annotated[str, typer.Option("--data", help="A folder of pictures, or fashion_mnist.")]
Picture = Annotated[Path, typer.Option("--out", help="The PNG file to write.")]
Threads = Annotated[int, typer.Option(help="CPU threads; 0: all.", min=0)]


@app.command()
def fit(
    data: Source,
    out: Annotated[Path, typer.Option(help="Folder for the model; a training in it goes on.")],
    variant: Annotated[
        str, typer.Option(help="dcvae, or fewer losses: dcvae-set, vae-gan, vae.")
    ] = "dcvae",
    size: Annotated[int, typer.Option(help="Pixels of an image's side: 16, 32, 64, ...")] = 32,
    channels: Annotated[
        int | None, typer.Option(help="1 or 3. (default 3; fashion_mnist: 1)")
    ] = None,
    latent: Annotated[int, typer.Option(help="Entries of a latent.")] = 128,
    generator: Annotated[int, typer.Option(help="Channels of the generator.")] = 256,
    encoder: Annotated[int, typer.Option(help="Channels of both encoders.")] = 128,
    queue: Annotated[int, typer.Option(help="Keys that the instance-level loss keeps.")] = 8192,
    batch: Annotated[int, typer.Option(help="Images in a step.")] = 64,
    steps: Annotated[int, typer.Option(help="Steps of the discriminator.")] = 200_000,
    rate: Annotated[float, typer.Option(help="Learning rate.")] = 2e-4,
    limit: Annotated[int, typer.Option(help="Train on so many images; 0: all.", min=0)] = 0,
    bf16: Annotated[bool, typer.Option("--bf16", help="bfloat16 arithmetic.")] = False,
    seed: Annotated[
        int, typer.Option(help="Of weights, order and latents.", min=0, max=2**32 - 1)
    ] = 0,
    threads: Threads = 0,
    as_json: Json = False,
) -> None:
    """Train a model on pictures. Interrupted, it goes on where it was when called again.

    The folder also gets grids of samples, and of images beside their reconstructions, as PNG.
    """
    from veilform.vision.dcvae import images as files
    from veilform.vision.dcvae.config import variant as config_of

    grey = channels if channels is not None else 1 if data == files.FASHION else 3
    config = config_of(
        variant, size=size, channels=grey, latent=latent, generator=generator, encoder=encoder,
        queue=queue, batch=batch, steps=steps, rate=rate, bf16=bf16, seed=seed,
    )  # fmt: skip
    found = files.load(data, config)
    found = found[:limit] if limit else found
    try:
        (out / "training").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}") from None
    _torch(threads)
    from veilform.vision.dcvae.model import DCVAE
    from veilform.vision.dcvae.private import prepare

    last: dict[str, Any] = {}
    with _bar(as_json) as bar:
        task = bar.add_task("steps", total=steps, note="")

        def tell(report: dict[str, Any]) -> None:
            last.update(report)
            note = " ".join(f"{k} {v:.3f}" for k, v in report.items() if k != "step")
            bar.update(task, completed=report["step"], note=note)
            if not console.err.is_terminal and not as_json:
                line = f"step {report['step']} of {steps}: {note}"
                console.err.print(line, highlight=False, soft_wrap=True)

        model = DCVAE(config).fit(found, out / "training", tell)
    model.save_pretrained(out)
    prepare(out, found)
    if as_json:
        console.print_json({"folder": str(out), "images": len(found), "last": last})
        return
    console.out.print(f"Wrote {out}; grids are in {out / 'training'}.", highlight=False)


@app.command()
def sample(
    folder: Folder,
    out: Picture,
    count: Annotated[int, typer.Option(help="How many images.", min=1, max=4096)] = 64,
    truncation: Annotated[
        float | None, typer.Option(help="Draw latents again that are larger; default: never.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the latents.", min=0, max=2**32 - 1)] = 0,
    scale: Scale = 2,
    as_json: Json = False,
) -> None:
    """Draw new images."""
    drawing.as_png(out)
    made = _open(folder).sample(count, truncation, seed)
    _write(out, made, min(GRID_COLUMNS, count), scale, as_json)


@app.command()
def reconstruct(
    folder: Folder,
    data: Source,
    out: Picture,
    count: Annotated[int, typer.Option(help="How many images.", min=1, max=2048)] = 32,
    scale: Scale = 2,
    as_json: Json = False,
) -> None:
    """Show images, each with its reconstruction to the right."""
    drawing.as_png(out)
    import numpy as np

    model = _open(folder)
    originals = _images(model, data)[:count]
    pairs = np.stack([originals, model.reconstruct(originals)], 1)
    _write(out, pairs.reshape(-1, *originals.shape[1:]), GRID_COLUMNS, scale, as_json)


@app.command()
def interpolate(
    folder: Folder,
    data: Source,
    out: Picture,
    rows: Annotated[int, typer.Option(help="How many pairs of images.", min=1, max=256)] = 8,
    steps: Annotated[int, typer.Option(help="Images of a row.", min=2, max=64)] = 8,
    scale: Scale = 2,
    as_json: Json = False,
) -> None:
    """Show what lies between images: each row goes from one picture to the next."""
    drawing.as_png(out)
    model = _open(folder)
    found = _images(model, data)[: 2 * rows]
    if len(found) < 2:
        raise InputError("interpolation takes two images or more")
    even = len(found) // 2 * 2
    made = model.interpolate(found[0:even:2], found[1:even:2], steps)
    _write(out, made.reshape(-1, *made.shape[2:]), steps, scale, as_json)


@app.command()
def evaluate(
    folder: Folder,
    count: Annotated[int, typer.Option(help="Held-out images.", min=64, max=10_000)] = 5000,
    train: Annotated[int, typer.Option(help="Images of the probe.", min=64, max=60_000)] = 20_000,
    threads: Threads = 0,
    as_json: Json = False,
) -> None:
    """Score a model of Fashion-MNIST: distances, retrieval, a linear probe; all offline."""
    from veilform.vision import fashion
    from veilform.vision.dcvae import images as files

    model = _open(folder, threads)
    from veilform.vision.dcvae import classifier
    from veilform.vision.dcvae import evaluate as scoring

    seen, labels = fashion.padded("train")
    held_out, wanted = fashion.padded("test")
    files.check(held_out[:1], model.config)
    with console.step("scoring", as_json):
        scores = scoring.evaluate(
            model, classifier.load(), (seen[:train], labels[:train]),
            (held_out[:count], wanted[:count]),
        )  # fmt: skip
    if as_json:
        console.print_json(scores._asdict())
        return
    for name, value in scores._asdict().items():
        console.out.print(f"{name.replace('_', ' '):26} {value:.4g}", highlight=False)


app.command()(drawing.draw)
app.command()(drawing.encode)


def _torch(threads: int = 0) -> None:
    console.require_extra("train", "torch", "safetensors")
    import torch

    if threads:
        torch.set_num_threads(threads)


def _open(folder: Path, threads: int = 0) -> DCVAE:
    _torch(threads)
    from veilform.vision.dcvae.model import DCVAE

    return DCVAE.from_pretrained(folder)


def _images(model: DCVAE, data: str) -> Images:
    """Held-out ones, of Fashion-MNIST."""
    from veilform.vision.dcvae import images as files

    return files.load(data, model.config, "test")


def _write(out: Path, made: Images, columns: int, scale: int, as_json: bool) -> None:
    from veilform.vision.dcvae.images import grid, write_png

    write_png(out, grid(made, columns), scale)
    if as_json:
        console.print_json({"picture": str(out), "images": len(made)})
        return
    console.out.print(f"Wrote {out}.", highlight=False)


def _bar(quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("left"),
        TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=console.err,
        disable=quiet or not console.err.is_terminal,
    )  # fmt: skip
