"""What `veilform serve --workers` does in the process that holds the socket, and in each worker."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from veilform.commands import console

if TYPE_CHECKING:
    from veilform.settings import ServeSettings

Count = Annotated[
    int | None,
    typer.Option("--workers", help="Processes that serve, at one address.", min=1, max=64),
]
Worker = Annotated[tuple[int, int], typer.Option("--worker", hidden=True, metavar="NUMBER SOCKET")]
NONE = (-1, -1)


def supervise(settings: ServeSettings, until_stdin_closes: bool) -> None:
    """Has workers serve until this process is told to end. They are given its own arguments.

    Raises:
        VeilformError: the address is taken, or a worker does not start.
    """
    from veilform.roles import SERVER
    from veilform.serve.address import parse
    from veilform.serve.local import READY
    from veilform.serve.workers import Workers
    from veilform.transport import Identity, Listener

    identity = Identity.load(settings.certificates, SERVER)
    with Listener(*parse(settings.listen), identity, opened=False) as listener:
        mine = [each for each in sys.argv[1:] if each != "--until-stdin-closes"]
        workers = Workers(mine, settings.workers, listener.fileno())
        console.stop_on_signals(workers.stop, until_stdin_closes, settings.patience_s)
        console.act_on_hangup("the models", lambda: workers.signal(signal.SIGHUP))
        workers.start()
        console.say(f"{READY}{listener.host}:{listener.port}")
        workers.join()


def as_worker(settings: ServeSettings, number: int) -> ServeSettings:
    """What differs for one of several: the port of its metrics is so many further."""
    from veilform.serve.address import following

    if settings.metrics is None:
        return settings
    return msgspec.structs.replace(settings, metrics=following(settings.metrics, number))
