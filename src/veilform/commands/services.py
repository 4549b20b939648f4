"""Commands that run a deployment: certificates, export, dealer, server, classify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from veilform.commands import console
from veilform.commands.console import (
    Certificates,
    ClientStock,
    DealerAt,
    Json,
    LinkName,
    Listen,
    Model,
    Pairs,
    Public,
    ServerAt,
)
from veilform.errors import RangeError

StdinOption = Annotated[
    bool, typer.Option("--until-stdin-closes", hidden=True, help="End with the parent process.")
]


def certificates(
    folder: Annotated[Path, typer.Argument(help="Where to put them; made if missing.")],
    days: Annotated[int, typer.Option(help="How long they are valid.", min=1, max=825)] = 30,
) -> None:
    """Make a deployment's certificates: one folder a party, each to be copied to its machine."""
    from veilform.transport import create_deployment

    create_deployment(folder, days)
    console.out.print(
        f"Made {folder}/client, {folder}/server and {folder}/dealer. Copy each to its party's "
        "machine, and remove the rest there: a private key belongs to one party.",
        soft_wrap=True,
    )


def export(
    model: Model,
    folder: Annotated[Path, typer.Argument(help="The client's folder; must be empty or new.")],
    private_embedding: Annotated[
        bool, typer.Option(help="For a server that runs with --private-embedding.")
    ] = False,
) -> None:
    """Write what a client needs: tokenizer, public embeddings, scales; no encoder weights."""
    from veilform.models.bert.sides import ServerSide, publish
    from veilform.models.checkpoint import resolve

    with console.step("reading and checking the model"):
        publish(ServerSide(resolve(model), private_embedding), folder)
    console.out.print(
        f"Wrote {folder}. Give it to clients; it holds none of the encoder's weights."
    )


def dealer(
    certificates: Certificates,
    listen: Listen = "127.0.0.1:7002",
    link: LinkName = "loopback",
    until_stdin_closes: StdinOption = False,
) -> None:
    """Run the dealer: makes the randomness that client and server use up. Never sees an input."""
    from veilform.roles import DEALER
    from veilform.serve.address import parse
    from veilform.serve.dealer import Dealer
    from veilform.serve.local import READY
    from veilform.transport import Identity, Listener
    from veilform.transport.links import named

    console.log_to_stderr()
    listener = Listener(*parse(listen), Identity.load(certificates, DEALER), link=named(link))
    service = Dealer().service(listener)
    console.stop_on_signals(service.stop, until_stdin_closes)
    console.say(f"{READY}{listener.host}:{listener.port}")
    if not service.run():
        console.end_at_once()


def server(
    model: Model,
    certificates: Certificates,
    dealer: DealerAt,
    stock: Annotated[Path, typer.Option(help="Folder for this server's stock; kept private.")],
    listen: Listen = "127.0.0.1:7001",
    publish_to: Annotated[
        Path | None,
        typer.Option("--publish", help="Also write the client's folder here, as `export` does."),
    ] = None,
    private_embedding: Annotated[
        bool, typer.Option(help="Look words up under secure computation too.")
    ] = False,
    link: LinkName = "loopback",
    until_stdin_closes: StdinOption = False,
) -> None:
    """Run the server: holds the model, answers clients, sees no text."""
    from veilform.correlation.store import StockStore
    from veilform.models.bert.sides import ServerSide, publish
    from veilform.models.checkpoint import resolve
    from veilform.roles import DEALER, SERVER
    from veilform.serve.address import parse
    from veilform.serve.local import READY
    from veilform.serve.masking import kept_in
    from veilform.serve.served import Models
    from veilform.serve.server import Server
    from veilform.transport import Identity, Listener, connect
    from veilform.transport.links import named

    console.log_to_stderr()
    identity, dealer_at = Identity.load(certificates, SERVER), parse(dealer)
    shape = named(link)
    # The port first: a port in use is told before the model is read.
    with Listener(*parse(listen), identity, link=shape) as listener:
        with console.step("reading and checking the model"):
            side = ServerSide(resolve(model), private_embedding)
            if publish_to is not None:
                publish(side, publish_to)
        store = StockStore(stock, SERVER)
        models = Models([side], kept_in(stock))
        running = Server(models, store, lambda: connect(*dealer_at, identity, DEALER, link=shape))
        try:
            running.register()
            service = running.service(listener)
            console.stop_on_signals(service.stop, until_stdin_closes)
            console.say(f"{READY}{listener.host}:{listener.port}")
            ended = service.run()
        finally:
            running.close()
    if not ended:
        console.end_at_once()


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
    as_json: Json = False,
) -> None:
    """Classify texts privately against a running service. The texts never leave this machine."""
    from veilform.pipeline import SecureClassifier, remote_client

    texts = console.paired(console.read_texts(text, file), text_pair, pairs)
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
