"""Commands that fit, measure and compare the runtime of text generation: ``veilform runtime``."""

from __future__ import annotations

import time
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from veilform.commands import console, runtime_tables
from veilform.commands.console import Json
from veilform.errors import InputError
from veilform.plan import runtime as plan
from veilform.plan.runtime.cost import A100

app = typer.Typer(
    no_args_is_help=True, help="Seconds, dollars and energy of text generation: idealized runtime."
)

Samples = Annotated[
    Path, typer.Argument(help="CSV with prompt_tokens, output_tokens, seconds; batch 1.")
]
Save = Annotated[
    Path | None, typer.Option(help="Write the model here, in the published JSON schema.")
]
Name = Annotated[str, typer.Option(help="Its name in that file; default: the samples' file's.")]
Prompt = Annotated[int, typer.Option(help="Tokens of the prompt.", min=1)]
Output = Annotated[int, typer.Option(help="Tokens to generate.", min=1)]
Price = Annotated[float, typer.Option(help="Dollars an hour of one; a V100 was 3.06.", min=0)]
Watts = Annotated[float, typer.Option(help="Watts that one draws; a V100 at most 300.", min=0)]
Pue = Annotated[
    float, typer.Option(help="Power of the data centre over that of its machines.", min=1)
]
Cache = Annotated[
    bool | None,
    typer.Option(
        "--cache/--no-cache",
        help="Take the fit with, or without, the term for a growing key-value cache; default: "
        "the better one.",
    ),
]


class Clock(str, Enum):
    """What a profile counts."""

    WALL = "wall"
    CPU = "cpu"


CLOCKS = {Clock.WALL: time.perf_counter, Clock.CPU: time.process_time}


@app.command()
def fit(
    samples: Samples,
    save: Save = None,
    name: Name = "",
    cache: Cache = None,
    as_json: Json = False,
) -> None:
    """Fit T(p, o) = alpha(p) + beta (o - 1), without and with a term for the key-value cache."""
    fits = plan.fit_both(plan.read_csv(samples))
    if save is not None:
        _save(save, name or samples.stem, _choose(fits, cache))
    if as_json:
        console.print_json(fits.to_json())
    else:
        runtime_tables.fits(fits.to_json())


@app.command()
def denoise(samples: Samples, save: Save = None, name: Name = "", as_json: Json = False) -> None:
    """Tell a model's runtime from repeated timings of a black-box interface to it."""
    model = plan.denoise(plan.read_csv(samples))
    if save is not None:
        _save(save, name or samples.stem, model)
    if as_json:
        alpha = {str(size): seconds for size, seconds in model.alpha.items()}
        console.print_json({"beta": model.beta, "alpha": alpha, "overhead": model.overhead})
        return
    console.out.print(
        f"{1e3 * model.beta:.2f} ms an output token, {1e3 * (model.overhead or 0):.1f} ms of "
        "overhead a request.",
        highlight=False,
    )
    runtime_tables.alpha(model.alpha)


@app.command()
def estimate(
    source: Annotated[
        Path, typer.Argument(help="JSON file of models, or CSV of samples to fit first.")
    ],
    prompt: Prompt,
    output: Output,
    name: Annotated[str, typer.Option(help="The model of the JSON file.")] = "",
    accelerators: Annotated[int, typer.Option(help="How many it runs on.", min=1)] = 1,
    price: Price = A100.price,
    watts: Watts = A100.watts,
    pue: Pue = 1.0,
    extrapolate: Annotated[
        bool, typer.Option("--extrapolate", help="Allow prompts outside the profiled sizes.")
    ] = False,
    cache: Cache = None,
    as_json: Json = False,
) -> None:
    """Say how long a generation takes, and what it costs in dollars and energy."""
    name, model = _model(source, name, cache)
    seconds = model.estimate(prompt, output, extrapolate)
    energy = plan.joules(seconds, accelerators, watts, pue)
    sizes = list(model.alpha)
    figures = {
        "model": name,
        "seconds": seconds,
        "dollars": plan.dollars(seconds, accelerators, price),
        "joules": energy,
        "extrapolated": not sizes[0] <= prompt <= sizes[-1],
    }
    if as_json:
        console.print_json(figures)
        return
    beyond = ", extrapolated" if figures["extrapolated"] else ""
    console.out.print(
        f"{name}: {seconds:.3f} s{beyond}, {figures['dollars']:.3g} dollars, "
        f"{energy / 3600:.3g} Wh.",
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip


@app.command()
def profile(
    out: Annotated[Path, typer.Option(help="CSV file for the samples.")],
    model: Annotated[
        Path | None,
        typer.Option(help="Folder of a causal language model; default: a small random GPT-2."),
    ] = None,
    layers: Annotated[int, typer.Option(help="Of the random GPT-2.", min=1)] = 4,
    width: Annotated[int, typer.Option(help="Likewise; heads are of 64.", min=64)] = 256,
    prompts: Annotated[str, typer.Option(help="Prompt sizes, joined by commas.")] = "",
    outputs: Annotated[str, typer.Option(help="Output sizes, likewise; with 1.")] = "",
    held_out: Annotated[
        str, typer.Option(help="Cells for the test only, PROMPTxOUTPUT joined by commas.")
    ] = "",
    trials: Annotated[int, typer.Option(help="Timed runs of each cell.", min=1)] = 10,
    warmup: Annotated[int, typer.Option(help="Runs of each cell before.", min=0)] = 1,
    device: Annotated[str, typer.Option(help="PyTorch device; auto: a GPU if there is one.")] = (
        "auto"
    ),
    threads: Annotated[int | None, typer.Option(help="Of PyTorch on a CPU.", min=1)] = None,
    clock: Annotated[
        Clock,
        typer.Option(
            help="wall; or cpu: processor seconds, which on one thread of a busy machine are what "
            "the wall says on a quiet one."
        ),
    ] = Clock.WALL,
    as_json: Json = False,
) -> None:
    """Time a real model over a grid of sizes, fit it, and test the fit on cells held out."""
    from veilform.plan.runtime.huggingface import Shape, open_model

    grid = _grid(prompts, outputs, held_out)
    room = max(Shape.positions, grid.longest)
    shape = Shape(layers=layers, width=width, heads=max(1, width // 64), positions=room)
    with console.step("loading", as_json):
        generator = open_model(model or shape, device, threads)
    generator.require(grid.longest)
    if clock is Clock.CPU and (generator.about["device"], generator.about["threads"]) != ("cpu", 1):
        raise InputError("--clock cpu adds up threads and sees no GPU: give --threads 1, on a CPU")
    with Progress(console=console.err, disable=as_json or not console.err.is_terminal) as bar:
        task = bar.add_task("rounds", total=trials)
        measured = plan.profile(
            generator.generate,
            grid,
            trials=trials,
            warmup=warmup,
            clock=CLOCKS[clock],
            progress=lambda done, _: bar.update(task, completed=done),
        )
    plan.write_csv(out, measured.samples)
    figures = {"clock": clock.value, "trials": trials, **generator.about, **measured.to_json()}
    if as_json:
        console.print_json(figures)
        return
    runtime_tables.fits(figures)
    if figures["held_out"]:
        runtime_tables.held_out(figures["held_out"])
    console.out.print(f"Wrote {out}.", markup=False, highlight=False)


@app.command()
def compare(
    folder: Annotated[Path, typer.Argument(help="The profiles, a CSV file for each shape.")],
    prompt: Prompt = 512,
    output: Output = 32,
    published: Annotated[
        Path | None, typer.Option(help="The published fits, to show beside ours.")
    ] = None,
    price: Price = A100.price,
    watts: Watts = A100.watts,
    pue: Pue = 1.0,
    plot: Annotated[
        Path | None, typer.Option(help="Draw runtime against model size: .svg, .png or .pdf.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Set the paper's ten language models beside each other, all on A100s."""
    from veilform.plan.runtime import compare as ten

    request = ten.Request(prompt, output)
    theirs = plan.load(published) if published else None
    rows = ten.compare(folder, request, theirs, plan.Accelerator("given", price, watts), pue)
    if plot is not None:
        ten.plot(rows, request, plot)
    if as_json:
        console.print_json({"prompt_tokens": prompt, "output_tokens": output, "models": rows})
    else:
        runtime_tables.comparison(rows, prompt, output)


def _choose(fits: plan.Fits, cache: bool | None) -> plan.RuntimeModel:
    if cache is None:
        return fits.better.model
    if not cache:
        return fits.published.model
    if fits.cache is None:
        raise InputError("these sizes do not determine a term for the cache")
    return fits.cache.model


def _save(path: Path, name: str, model: plan.RuntimeModel) -> None:
    plan.save(path, {name: model})


def _model(source: Path, name: str, cache: bool | None) -> tuple[str, plan.RuntimeModel]:
    """The model that is meant, and its name."""
    if source.suffix == ".csv":
        return name or source.stem, _choose(plan.fit_both(plan.read_csv(source)), cache)
    models = plan.load(source)
    if not name and len(models) == 1:
        name = next(iter(models))
    if name not in models:
        wrong = f"{source} has no model {name!r}" if name else "say which model with --name"
        raise InputError(f"{wrong}; there are {', '.join(models)}")
    return name, models[name]


def _grid(prompts: str, outputs: str, held_out: str) -> plan.Grid:
    """The default grid with what is given; other prompts have no held-out cells but the given."""
    given: dict[str, Any] = {}
    try:
        if prompts:
            given |= {"prompt_tokens": tuple(map(int, prompts.split(","))), "held_out": ()}
        if outputs:
            given |= {"output_tokens": tuple(map(int, outputs.split(","))), "held_out": ()}
        if held_out:
            pairs = [each.split("x") for each in held_out.split(",")]
            given["held_out"] = tuple((int(p), int(o)) for p, o in pairs)
    except ValueError:
        raise InputError("sizes are as 1,16,64, held-out cells as 48x12,96x24") from None
    return plan.Grid(**given)
