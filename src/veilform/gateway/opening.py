"""From folders and addresses to models that answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from veilform.correlation.store import StockStore
from veilform.errors import InputError, ModelError
from veilform.gateway.served import Catalogue, Served, parse_name
from veilform.gateway.sessions import ClientSession
from veilform.models.bert.sides import ClientSide
from veilform.roles import CLIENT, DEALER, SERVER
from veilform.serve.address import parse
from veilform.serve.client import Client
from veilform.serve.pool import Pool
from veilform.transport import Identity, connect


@dataclass(frozen=True)
class Remote:
    """Where the other parties are, and this one's folders.

    Attributes:
        server, dealer: host:port.
    """

    server: str
    dealer: str
    certificates: Path
    stock: Path

    def opener(self, side: ClientSide) -> Callable[[], Client]:
        """Opens clients of one model.

        Raises:
            VeilformError: the addresses or certificates cannot be used.
        """
        server, dealer = parse(self.server), parse(self.dealer)
        Identity.load(self.certificates, CLIENT)

        def open_client() -> Client:
            # Read again each time: certificates are renewed.
            identity = Identity.load(self.certificates, CLIENT)
            return Client(
                side,
                StockStore(self.stock, CLIENT),
                lambda: connect(*server, identity, SERVER),
                lambda: connect(*dealer, identity, DEALER),
            )

        return open_client


def open_models(
    named: Sequence[str],
    remote: Remote,
    *,
    level: int,
    sessions: int,
    most_waiting: int,
    batches: Sequence[int],
) -> Catalogue:
    """The models of NAME[@VERSION]=FOLDER, each with a pool.

    Raises:
        InputError, ModelError: a name or folder cannot be used.
    """
    sides = [read_side(text) for text in named]
    served: list[Served] = []
    try:
        for name, version, side in sides:
            connecting = remote.opener(side)
            pool = Pool(
                session_opener(connecting, level),
                side.public.encoder.pad,
                sessions=sessions,
                most_waiting=most_waiting,
                batches=batches,
            )
            served.append(Served(name, version, side, pool))
        return Catalogue(served)
    except BaseException:
        for one in served:
            one.pool.close()
        raise


def read_side(text: str) -> tuple[str, str, ClientSide]:
    """Name, version and public part of NAME[@VERSION]=FOLDER."""
    name, equals, folder = text.partition("=")
    if not equals or not folder:
        raise InputError(f"{text!r} is no NAME=FOLDER")
    if not Path(folder).is_dir():
        raise ModelError(f"{folder} is no folder: give the folder that `veilform export` made")
    return *parse_name(name), ClientSide(Path(folder))


def session_opener(connect: Callable[[], Client], level: int) -> Callable[[], ClientSession]:
    """What a pool opens its sessions with."""
    return lambda: ClientSession(connect(), level)
