"""A client of a service that runs elsewhere."""

from __future__ import annotations

from pathlib import Path

from veilform.correlation.store import StockStore
from veilform.errors import ModelError
from veilform.models import families
from veilform.roles import CLIENT, DEALER, SERVER
from veilform.serve.address import parse
from veilform.serve.client import Client
from veilform.transport import Identity, connect
from veilform.transport.links import named


def remote_client(
    public: Path,
    server: str,
    dealer: str,
    certificates: Path,
    stock: Path,
    link: str = "loopback",
) -> Client:
    """A client of a running service.

    Args:
        public: the folder that ``veilform export`` made.
        server, dealer: host:port.
        link: the name of a link that shapes what this side sends.
    """
    if not public.is_dir():
        raise ModelError(
            f"{public} is no folder: with a server, give the folder that `veilform export` made"
        )
    server_at, dealer_at = parse(server), parse(dealer)
    shape = named(link)
    identity = Identity.load(certificates, CLIENT)
    return Client(
        families.client_side(public),
        StockStore(stock, CLIENT),
        lambda: connect(*server_at, identity, SERVER, link=shape),
        lambda: connect(*dealer_at, identity, DEALER, link=shape),
    )
