"""The command ``veilform``."""

from __future__ import annotations

import sys

import typer

from veilform.commands import (
    bench,
    compressing,
    console,
    demo,
    evaluating,
    gateway,
    generating,
    keys,
    models,
    parallel,
    pictures,
    plan,
    quantizing,
    runtime,
    services,
    training,
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Serve models of texts and images privately: no input is seen, and no weights.",
)
app.command()(demo.demo)
app.command()(models.cost)
app.command()(plan.plan)
app.command()(models.check)
app.command(name="import")(pictures.import_)
app.command()(models.calibrate)
app.command()(quantizing.quantize)
app.command()(training.distill)
app.command()(compressing.train_images)
app.command()(compressing.compress)
app.command()(evaluating.evaluate)
app.command()(services.export)
app.command()(services.deal)
app.command()(services.serve)
app.command()(services.classify)
app.add_typer(keys.app, name="keys")
app.command()(gateway.gateway)
app.add_typer(bench.app, name="bench")
app.add_typer(runtime.app, name="runtime")
app.add_typer(parallel.app, name="parallel")
app.add_typer(generating.app, name="dcvae")


def version(value: bool) -> None:
    """Prints the version and ends."""
    if value:
        from veilform import __version__

        console.out.print(f"veilform {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def common(
    show_version: bool = typer.Option(
        False, "--version", callback=version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Options before a command."""


def main() -> None:
    """Runs the command line; an expected error becomes one line and an exit code."""
    console.unwind_on_sigterm()
    sys.exit(console.guarded(lambda: app(standalone_mode=False)))
