"""Commands that run a deployment: export, deal, serve, classify."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from veilform.commands import checking, console, observing, pictures, working
from veilform.commands.console import (
    Certificates,
    ClientStock,
    DealerAt,
    Json,
    Model,
    Pairs,
    Public,
    Ray,
    ServerAt,
)
from veilform.errors import InputError, RangeError

if TYPE_CHECKING:
    from veilform.models.sides import ServerSide
    from veilform.settings import ServeSettings

CERTIFICATES = typer.Option(help="This party's folder of `veilform keys`, or the deployment's.")
LISTEN = typer.Option(help="host:port to listen at; port 0 takes a free one.")
LINK = typer.Option(
    help="Slow down what this process sends, to measure: loopback (not at all), lan or wan."
)
Config = Annotated[
    Path | None,
    typer.Option(help="A TOML file with these settings; docs/deployment.md.",
                 envvar="VEILFORM_CONFIG"),
]  # fmt: skip
Check = Annotated[
    bool, typer.Option("--check", help="Check all settings, files and ports; start nothing.")
]
Connect = Annotated[
    bool, typer.Option("--connect", help="With --check: also reach the other parties.")
]
StdinOption = Annotated[
    bool, typer.Option("--until-stdin-closes", hidden=True, help="End with the parent process.")
]


def export(
    model: Model,
    folder: Annotated[Path, typer.Argument(help="The client's folder; must be empty or new.")],
    private_embedding: Annotated[
        bool, typer.Option(help="For a server that runs with --private-embedding.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write what a client needs, without weights: of texts tokenizer and public embeddings, scales.

    Of images: how pictures are prepared, labels, scales.
    """
    from veilform.models import families
    from veilform.models.checkpoint import resolve

    with console.step("reading and checking the model", as_json):
        side = families.server_side(resolve(model), private_embedding)
        families.publish(side, folder)
    if as_json:
        console.print_json({"model": model, "folder": str(folder), "takes": side.takes})
        return
    console.out.print(f"Wrote {folder}. Give it to clients; it holds none of the server's weights.")


def deal(
    certificates: Annotated[Path | None, CERTIFICATES] = None,
    listen: Annotated[str | None, LISTEN] = None,
    ray: Ray = None,
    workers: Annotated[
        int | None, typer.Option(help="With --ray: stocks at a time; 0: one a processor.", min=0)
    ] = None,
    link: Annotated[str | None, LINK] = None,
    metrics: observing.Metrics = None,
    traces: observing.Traces = None,
    log_format: observing.LogFormat = None,
    patience: observing.Patience = None,
    config: Config = None,
    check: Check = False,
    connect: Connect = False,
    as_json: Json = False,
    until_stdin_closes: StdinOption = False,
) -> None:
    """Run the dealer: makes the randomness that client and server use up. Never sees an input."""
    from veilform.roles import DEALER
    from veilform.serve.address import parse
    from veilform.serve.dealer import Dealer
    from veilform.serve.local import READY
    from veilform.settings import DealSettings, load
    from veilform.spread.cluster import Cluster
    from veilform.spread.dealing import Spread
    from veilform.transport import Identity, Listener
    from veilform.transport.links import named

    flags = {
        "certificates": certificates, "listen": listen, "link": link, "metrics": metrics,
        "traces": traces, "log_format": log_format, "patience_s": patience,
        "ray": ray, "workers": workers,
    }  # fmt: skip
    if check or connect:
        checking.report(DealSettings, config, flags, connect, as_json)
        return
    settings = load(DealSettings, config, os.environ, flags)
    console.log_to_stderr(settings.log_format)
    identity = Identity.load(settings.certificates, DEALER)
    listener = Listener(*parse(settings.listen), identity, link=named(settings.link))
    with observing.observers(settings, DEALER) as tell, contextlib.ExitStack() as stack:
        deals = None
        if settings.ray is not None:
            with console.step("starting or joining the Ray cluster"):
                deals = Spread(stack.enter_context(Cluster(settings.ray, settings.workers)))
        service = Dealer(tell, deals).service(listener)
        console.stop_on_signals(service.stop, until_stdin_closes, settings.patience_s)
        console.say(f"{READY}{listener.host}:{listener.port}")
        ended = service.run()
    if not ended:
        console.end_at_once()


def serve(
    model: Annotated[
        str | None,
        typer.Argument(help="A checkpoint folder, or a shipped student; several: see --config."),
    ] = None,
    certificates: Annotated[Path | None, CERTIFICATES] = None,
    dealer: Annotated[str | None, typer.Option(help="host:port of the dealer.")] = None,
    stock: Annotated[
        Path | None, typer.Option(help="Folder for this server's stock; kept private.")
    ] = None,
    listen: Annotated[str | None, LISTEN] = None,
    publish_to: Annotated[
        Path | None,
        typer.Option("--publish", help="Also write the client's folder here, as `export` does."),
    ] = None,
    private_embedding: Annotated[
        bool, typer.Option(help="Look words up under secure computation too.")
    ] = False,
    workers: working.Count = None,
    link: Annotated[str | None, LINK] = None,
    metrics: observing.Metrics = None,
    traces: observing.Traces = None,
    log_format: observing.LogFormat = None,
    patience: observing.Patience = None,
    config: Config = None,
    check: Check = False,
    connect_: Connect = False,
    as_json: Json = False,
    worker: working.Worker = working.NONE,
    until_stdin_closes: StdinOption = False,
) -> None:
    """Run the server: holds the models, answers clients, sees no text and no image."""
    from veilform.correlation.store import StockStore
    from veilform.roles import DEALER, SERVER
    from veilform.serve.address import parse
    from veilform.serve.local import READY
    from veilform.serve.masking import kept_in
    from veilform.serve.served import Models
    from veilform.serve.server import Server
    from veilform.settings import ServeSettings, load
    from veilform.transport import Identity, Listener, connect
    from veilform.transport.links import named

    if private_embedding and model is None:
        raise InputError("--private-embedding is for a MODEL given here; in a file, write it there")
    only = {"path": model, "private_embedding": private_embedding}
    flags = {
        "certificates": certificates, "dealer": dealer, "stock": stock, "listen": listen,
        "publish": publish_to, "link": link, "model": None if model is None else [only],
        "metrics": metrics, "traces": traces, "log_format": log_format, "patience_s": patience,
        "workers": workers,
    }  # fmt: skip
    if check or connect_:
        checking.report(ServeSettings, config, flags, connect_, as_json)
        return
    settings = load(ServeSettings, config, os.environ, flags)
    console.log_to_stderr(settings.log_format)
    if settings.workers > 1 and worker == working.NONE:
        working.supervise(settings, until_stdin_closes)
        return
    inherited = None
    if worker != working.NONE:
        number, inherited = worker
        settings = working.as_worker(settings, number)
    identity, dealer_at = Identity.load(settings.certificates, SERVER), parse(settings.dealer)
    shape = named(settings.link)
    # The port first: a port in use is told before the models are read. It opens when all is ready.
    with (
        Listener(
            *parse(settings.listen), identity, link=shape, opened=False, inherited=inherited
        ) as listener,
        observing.observers(settings, SERVER) as tell,
    ):
        with console.step("reading and checking the models"):
            sides = read_models(settings)
        store = StockStore(settings.stock, SERVER)
        models = Models(sides, kept_in(settings.stock))
        running = Server(
            models, store, lambda: connect(*dealer_at, identity, DEALER, link=shape), tell
        )
        try:
            running.register()
            service = running.service(listener)
            console.stop_on_signals(service.stop, until_stdin_closes, settings.patience_s)
            console.act_on_hangup(
                "the models",
                lambda: running.offer(read_models(load(ServeSettings, config, os.environ, flags))),
            )
            listener.open()
            console.say(f"{READY}{listener.host}:{listener.port}")
            ended = service.run()
        finally:
            running.close()
    if not ended:
        console.end_at_once()


def read_models(settings: ServeSettings) -> list[ServerSide]:
    """Reads and checks the models that a server offers, and writes their public folders.

    Raises:
        InputError, ModelError: one cannot be served, or its public folder holds something else.
    """
    from veilform.models import families
    from veilform.models.checkpoint import resolve

    sides = []
    for model in settings.model:
        sides.append(families.server_side(resolve(model.path), model.private_embedding))
        folder = settings.published(model)
        if folder is not None:
            families.publish(sides[-1], folder)
    return sides


def classify(
    public: Public,
    certificates: Certificates,
    server: ServerAt,
    dealer: DealerAt,
    stock: ClientStock,
    text: Annotated[
        list[str] | None, typer.Option(help="A text; may be given more than once.")
    ] = None,
    text_pair: Annotated[
        list[str] | None, typer.Option(help="The second text of a pair; one for each --text.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="A file with one text a line; - for stdin.")
    ] = None,
    pairs: Pairs = False,
    image: pictures.Images = None,
    as_json: Json = False,
) -> None:
    """Classify texts or images privately by a running service. They never leave this machine."""
    from veilform.models import families
    from veilform.models.answers import CLASSIFICATION
    from veilform.pipeline import SecureClassifier
    from veilform.serve.remote import remote_client

    if image:
        if text or text_pair or file or pairs:
            raise InputError("give texts or images, not both")
        pictures.classify(
            image, public, lambda: remote_client(public, server, dealer, certificates, stock),
            as_json,
        )  # fmt: skip
        return
    texts = console.paired(console.read_texts(text, file), text_pair, pairs)
    if public.is_dir():
        CLASSIFICATION.require(families.described(public))
    rows, refused = [], []
    with (
        console.step("connecting", as_json) as tell,
        SecureClassifier(remote_client(public, server, dealer, certificates, stock)) as classifier,
    ):
        tell(f"text 1 of {len(texts)}")
        for number, answer in enumerate(classifier.each(texts), 1):
            tell(f"text {min(number + 1, len(texts))} of {len(texts)}")
            if isinstance(answer, RangeError):
                refused.append(answer)
                continue
            assert classifier.last_cost is not None
            rows.append(
                {**_named(texts[number - 1]), **answer, "cost": classifier.last_cost._asdict()}
            )
    if as_json:
        console.print_json(rows)
    else:
        _show(rows)
    if refused:
        raise refused[0]


def _named(text: str | tuple[str, str]) -> dict[str, str]:
    return {"text": text} if isinstance(text, str) else {"text": text[0], "text_pair": text[1]}


def _show(rows: list[dict[str, Any]]) -> None:
    table = Table("text", "label", "score", "online s", "offline s")
    for row in rows:
        cost = row["cost"]
        text = " | ".join(row[key] for key in ("text", "text_pair") if key in row)
        table.add_row(
            escape(text), escape(str(row["label"])), f"{row['score']:.3f}",
            f"{cost['online_seconds']:.2f}", f"{cost['offline_seconds']:.2f}",
        )  # fmt: skip
    console.out.print(table)
