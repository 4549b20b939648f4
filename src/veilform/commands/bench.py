"""Commands that measure: ``veilform bench``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress
from rich.table import Table

from veilform.commands import console
from veilform.commands.console import (
    Certificates,
    ClientStock,
    DealerAt,
    Json,
    LinkName,
    Public,
    ServerAt,
)
from veilform.errors import InputError

ABOUT = """Time private inference of a model of random weights, beside the plain one.

Dealer, server and client are three processes on this machine that talk over TLS, as in
`veilform demo`. VEILFORM_THREADS sets the threads of each.

Seconds are medians over the runs. Online: from the input to the answer. Offline: what dealer,
server and client do before there is an input. Plain: the same model in the clear, in float32 with
the same threads, on PyTorch if it is installed, else on NumPy; and with GELU and softmax instead
of its functions. On a busy machine a median tells of its other work, too: the JSON has the best
besides.

Bytes and messages are what the channel counted, frame headers included. Peak memory is each
process's own, loading the model included.
"""
# Paragraphs as lines: the terminal's width wraps them.
ABOUT = "\n\n".join(" ".join(each.split()) for each in ABOUT.split("\n\n"))

app = typer.Typer(no_args_is_help=True, help="Measure private inference on this machine.")


@app.command(help=ABOUT)
def inference(
    shape: Annotated[
        str,
        typer.Option(
            help="minilm-l6, bert-base, bert-large, or roberta-base (measured as a BERT of its "
            "sizes: its encoder is the same)."
        ),
    ] = "minilm-l6",
    seq: Annotated[
        int,
        typer.Option(
            help="Tokens of each text, [CLS] and [SEP] included; padded to 16, 32, ... 512.",
            min=3,
            max=512,
        ),
    ] = 32,
    layers: Annotated[
        int | None, typer.Option(help="Encoder layers; default: the shape's own.", min=1, max=48)
    ] = None,
    batch: Annotated[int, typer.Option(help="Texts in one inference.", min=1, max=64)] = 1,
    link: Annotated[
        str,
        typer.Option(
            help="Between each two parties, both ways: loopback, lan (1 Gbit/s, 1 ms round trip) "
            "or wan (200 Mbit/s, 40 ms)."
        ),
    ] = "loopback",
    runs: Annotated[int, typer.Option(help="Timed runs, after one that warms up.", min=1)] = 5,
    act: Annotated[str, typer.Option(help="The activation, by its name.")] = "quad",
    attention: Annotated[
        str, typer.Option(help="What makes attention weights of scores, by its name.")
    ] = "2quad",
    as_json: Json = False,
) -> None:
    """Time private inference of a model of random weights; see ``ABOUT``."""
    from veilform.bench.inference import Setting, measure
    from veilform.plan.presets import preset

    model = preset(shape).with_layers(layers).with_functions(act, attention)
    setting = Setting(model, seq, batch, link, runs)
    with console.step("starting", quiet=False) as tell:
        figures = measure(setting, progress=tell)
    if as_json:
        console.print_json(figures)
    else:
        _show(figures)


@app.command()
def machine(
    out: Annotated[Path, typer.Argument(help="The file to write, for `veilform plan --machine`.")],
    runs: Annotated[
        int, typer.Option(help="Timed runs of each model, after one that warms up.", min=1)
    ] = 5,
) -> None:
    """Measure this machine for the planner: some minutes; keep it idle meanwhile."""
    from veilform.bench.rates import calibrate, settings

    if not out.parent.is_dir():
        raise InputError(f"there is no folder {out.parent}")
    wanted = settings(runs)
    with Progress(console=console.err, disable=not console.err.is_terminal) as progress:
        task = progress.add_task("starting", total=len(wanted))
        found, _ = calibrate(
            wanted, lambda done, step: progress.update(task, completed=done, description=step)
        )
    found.save(out)
    console.out.print(
        f"wrote {out}: {found.name}. The rates explain the runs' times to "
        f"{100 * found.error:.0f} % on average.",
        highlight=False,
    )


@app.command(hidden=True)
def client(
    public: Public,
    certificates: Certificates,
    server: ServerAt,
    dealer: DealerAt,
    stock: ClientStock,
    link: LinkName = "loopback",
) -> None:
    """Run an inference for each line of standard input, a JSON list of texts; print its cost."""
    from veilform.bench.client_process import answer
    from veilform.serve.remote import remote_client

    with remote_client(public, server, dealer, certificates, stock, link) as running:
        answer(running, sys.stdin, console.say)


def _show(figures: dict[str, Any]) -> None:
    table = Table(
        title=f"{figures['shape']}, {figures['layers']} layers, {figures['batch']} x "
        f"{figures['seq']} tokens, {figures['link']}: medians of {figures['runs']} runs"
    )
    table.add_column("")
    table.add_column("", justify="right")
    up, down = figures["bytes_client_to_server"], figures["bytes_server_to_client"]
    rows = {
        "online": f"{figures['online_seconds']:.3f} s",
        "offline": f"{figures['offline_seconds']:.3f} s",
        f"plain ({figures['plain_backend']})": f"{figures['plain_seconds']:.4f} s",
        "plain with GELU and softmax": f"{figures['plain_exact_seconds']:.4f} s",
        "client to server": f"{up / 1e6:.2f} MB",
        "server to client": f"{down / 1e6:.2f} MB",
        "offline, all links": f"{figures['offline_bytes'] / 1e6:.2f} MB",
        "messages": str(figures["messages"]),
    }
    for party, peak in figures["peak_rss_mb"].items():
        rows[f"peak memory, {party}"] = "unknown" if peak is None else f"{peak:.0f} MB"
    for name, value in rows.items():
        table.add_row(name, value)
    console.out.print(table)
