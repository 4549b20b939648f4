"""The command that runs the client's side as a service for programs on the same machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from veilform.commands import checking, console, observing
from veilform.commands.console import Json
from veilform.commands.services import (
    CERTIFICATES,
    LINK,
    LISTEN,
    Check,
    Config,
    Connect,
    StdinOption,
)

TOKEN = "VEILFORM_TOKEN"  # noqa: S105 - the name of a variable
LEAST_TOKEN = 16


def gateway(
    public: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FOLDER or NAME@VERSION=FOLDER; may be given more than once."),
    ] = None,
    server: Annotated[str | None, typer.Option(help="host:port of the server.")] = None,
    dealer: Annotated[str | None, typer.Option(help="host:port of the dealer.")] = None,
    certificates: Annotated[Path | None, CERTIFICATES] = None,
    stock: Annotated[
        Path | None, typer.Option(help="Folder for this client's stock; kept private.")
    ] = None,
    listen: Annotated[str | None, LISTEN] = None,
    ready: Annotated[
        int | None,
        typer.Option(help="Runs of each length of each model to keep stock ready for.", min=0),
    ] = None,
    sessions: Annotated[
        int | None, typer.Option(help="Runs at once, of each model.", min=1, max=64)
    ] = None,
    queue: Annotated[
        int | None, typer.Option(help="Texts that may wait, of each model.", min=1)
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            help="Most texts in one run, when they wait anyhow. The server sees how many; one text "
            "out of range leaves all of a run without an answer.",
            min=1,
            max=64,
        ),
    ] = None,
    allow_remote: Annotated[
        bool | None,
        typer.Option(
            "--allow-remote",
            help="Allow an address that other machines reach. Needs a token; texts and token "
            "travel in the clear, so put a proxy with TLS before it.",
        ),
    ] = None,
    host_name: Annotated[
        list[str] | None,
        typer.Option(help="A name by which the gateway may be addressed, besides localhost."),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(help=f"File with the token that callers must send; or set {TOKEN}."),
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
    """Run the gateway: an HTTP API and a page on this machine; texts leave it only masked."""
    console.require_extra("gateway", "starlette", "uvicorn")
    from veilform.gateway.app import build
    from veilform.gateway.guard import LOOPBACK
    from veilform.gateway.listening import HttpServer, bind
    from veilform.gateway.opening import Models
    from veilform.roles import CLIENT
    from veilform.serve.address import parse
    from veilform.serve.local import READY
    from veilform.settings import GatewaySettings, load

    flags = {
        "model": [named_folder(text) for text in public] if public else None, "server": server,
        "dealer": dealer, "certificates": certificates, "stock": stock, "listen": listen,
        "ready": ready, "sessions": sessions, "queue": queue, "batch": batch,
        "allow_remote": allow_remote, "host_names": host_name, "token_file": token_file,
        "link": link, "metrics": metrics, "traces": traces, "log_format": log_format,
        "patience_s": patience,
    }  # fmt: skip
    if check or connect:
        checking.report(GatewaySettings, config, flags, connect, as_json)
        return
    settings = load(GatewaySettings, config, os.environ, flags)
    console.log_to_stderr(settings.log_format)
    host, port = parse(settings.listen)
    token = read_token(settings.token_file)
    check_exposure(host, settings.allow_remote, token)
    # The port first: one in use is told before the models are read.
    with bind(host, port) as listening, observing.observers(settings, CLIENT) as tell:
        with console.step("reading the models' public folders"):
            models = Models(settings, tell)
        try:
            names = {*LOOPBACK, *settings.host_names, f"[{host}]" if ":" in host else host}
            running = HttpServer(build(models.catalogue, names, token), listening)
            console.stop_on_signals(running.stop, until_stdin_closes, settings.patience_s)
            console.act_on_hangup(
                "the models",
                lambda: models.offer(load(GatewaySettings, config, os.environ, flags).model),
            )
            at, bound = listening.getsockname()[:2]
            console.say(f"{READY}{f'[{at}]' if ':' in at else at}:{bound}")
            running.run()
        finally:
            models.catalogue.close()


def named_folder(text: str) -> dict[str, str]:
    """NAME[@VERSION]=FOLDER, as a model's table in a file has it.

    Raises:
        InputError: it is nothing like that.
    """
    from veilform.errors import InputError

    called, equals, folder = text.partition("=")
    name, at, version = called.partition("@")
    if not equals or not folder or not name or (at and not version):
        raise InputError(f"{text!r} is no NAME=FOLDER")
    return {"name": name, "path": folder} | ({"version": version} if at else {})


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
