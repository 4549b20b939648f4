"""The command that runs the client's side as a service for programs on the same machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from veilform.commands import console
from veilform.commands.console import Certificates, ClientStock, DealerAt, Listen, ServerAt
from veilform.commands.services import StdinOption

TOKEN = "VEILFORM_TOKEN"  # noqa: S105 - the name of a variable
LEAST_TOKEN = 16


def gateway(
    public: Annotated[
        list[str],
        typer.Option(help="NAME=FOLDER or NAME@VERSION=FOLDER; may be given more than once."),
    ],
    server: ServerAt,
    dealer: DealerAt,
    certificates: Certificates,
    stock: ClientStock,
    listen: Listen = "127.0.0.1:8080",
    level: Annotated[
        int, typer.Option(help="Stocks each session holds ready, by length asked for.", min=0)
    ] = 1,
    sessions: Annotated[int, typer.Option(help="Runs at once, of each model.", min=1, max=64)] = 2,
    queue: Annotated[int, typer.Option(help="Texts that may wait, of each model.", min=1)] = 64,
    batch: Annotated[
        int,
        typer.Option(
            help="Most texts in one run, when they wait anyhow. The server sees how many; one text "
            "out of range leaves all of a run without an answer.",
            min=1,
            max=64,
        ),
    ] = 1,
    allow_remote: Annotated[
        bool,
        typer.Option(
            help="Allow an address that other machines reach. Needs a token; texts and token "
            "travel in the clear, so put a proxy with TLS before it."
        ),
    ] = False,
    host_name: Annotated[
        list[str] | None,
        typer.Option(help="A name by which the gateway may be addressed, besides localhost."),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(help=f"File with the token that callers must send; or set {TOKEN}."),
    ] = None,
    until_stdin_closes: StdinOption = False,
) -> None:
    """Run the gateway: an HTTP API and a page on this machine; texts leave it only masked."""
    console.require_extra("gateway", "starlette", "uvicorn")
    from veilform.gateway.app import build
    from veilform.gateway.guard import LOOPBACK
    from veilform.gateway.listening import HttpServer, bind
    from veilform.gateway.opening import Remote, open_models
    from veilform.serve.address import parse
    from veilform.serve.local import READY

    console.log_to_stderr()
    host, port = parse(listen)
    token = read_token(token_file)
    check_exposure(host, allow_remote, token)
    remote = Remote(server, dealer, certificates, stock)
    batches = [size for size in (1, 2, 4, 8, 16, 32, 64) if size <= batch]
    # The port first: one in use is told before the models are read.
    with bind(host, port) as listening:
        with console.step("reading the models' public folders"):
            catalogue = open_models(
                public, remote, level=level, sessions=sessions, most_waiting=queue, batches=batches
            )
        try:
            names = {*LOOPBACK, *(host_name or []), f"[{host}]" if ":" in host else host}
            running = HttpServer(build(catalogue, names, token), listening)
            console.stop_on_signals(running.stop, until_stdin_closes)
            at, bound = listening.getsockname()[:2]
            console.say(f"{READY}{f'[{at}]' if ':' in at else at}:{bound}")
            running.run()
        finally:
            catalogue.close()


def read_token(file: Path | None) -> str | None:
    """The token of a file, or of the environment; not of the command line, which all can see.

    Raises:
        InputError: the file cannot be read, or the token is too short.
    """
    from veilform.errors import InputError

    if file is None:
        token = os.environ.get(TOKEN)
    else:
        try:
            token = file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            raise InputError(f"{file} cannot be read as a token; write it in ASCII") from None
    if token is not None and (len(token) < LEAST_TOKEN or not token.isascii()):
        raise InputError(
            f"a token has {LEAST_TOKEN} ASCII characters or more; try openssl rand -hex 16"
        )
    return token


def check_exposure(host: str, allow_remote: bool, token: str | None) -> None:
    """Raises InputError for an address beyond this machine without all that it needs."""
    import ipaddress

    from veilform.errors import InputError

    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if local:
        return
    if not allow_remote:
        raise InputError(
            f"{host} can be reached from other machines, and the gateway holds texts in the clear; "
            "listen at 127.0.0.1, or give --allow-remote and a token"
        )
    if token is None:
        raise InputError(f"--allow-remote needs a token: give --token-file, or set {TOKEN}")
