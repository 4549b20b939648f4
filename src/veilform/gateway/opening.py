"""From settings to models that answer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from veilform.correlation.store import StockStore
from veilform.gateway.served import Catalogue, Served
from veilform.gateway.sessions import ClientSession
from veilform.models.bert.sides import ClientSide, Shape
from veilform.observe import Observer, ignore
from veilform.roles import CLIENT, DEALER, SERVER
from veilform.serve.address import parse
from veilform.serve.client import Client
from veilform.serve.depot import Depot
from veilform.serve.pool import Pool
from veilform.settings import GatewaySettings
from veilform.transport import Identity, connect
from veilform.transport.links import named


def open_models(settings: GatewaySettings, tell: Observer = ignore) -> Catalogue:
    """The models of the settings, each with a depot and a pool.

    Raises:
        InputError, ModelError: a folder, or the stock's, cannot be used.
    """
    Identity.load(settings.certificates, CLIENT)
    store = StockStore(settings.stock, CLIENT)
    sides = [ClientSide(model.path) for model in settings.model]
    with contextlib.ExitStack() as opened:
        served = []
        for model, side in zip(settings.model, sides, strict=True):
            one = _opened(settings, opener(settings, side, store, tell), side)
            served.append(Served(model.called, model.version, side, *one))
            opened.callback(served[-1].close)
        catalogue = Catalogue(served)
        opened.pop_all()
    return catalogue


def _opened(
    settings: GatewaySettings, connecting: Callable[[], Client], side: ClientSide
) -> tuple[Pool, Depot]:
    depot = Depot(connecting, levels(settings, side))
    pool = Pool(
        lambda: ClientSession(connecting()),
        side.public.encoder.pad,
        sessions=settings.sessions,
        most_waiting=settings.queue,
        batches=[size for size in (1, 2, 4, 8, 16, 32, 64) if size <= settings.batch],
        supply=depot,
    )
    return pool, depot


def levels(settings: GatewaySettings, side: ClientSide) -> dict[Shape, int]:
    """How many stocks of each shape to keep ready, of the lengths that the model has."""
    lengths = [scales.length for scales in side.scales.lengths]
    found = {Shape(1, length): settings.ready for length in lengths if settings.ready}
    given = {Shape(level.batch, level.length): level.count for level in settings.level}
    return found | {shape: count for shape, count in given.items() if shape.length in lengths}


def opener(
    settings: GatewaySettings, side: ClientSide, store: StockStore, tell: Observer
) -> Callable[[], Client]:
    """Opens clients of one model."""
    server, dealer = parse(settings.server), parse(settings.dealer)
    link = named(settings.link)

    def open_client() -> Client:
        # Read again each time: certificates are renewed.
        identity = Identity.load(settings.certificates, CLIENT)
        return Client(
            side,
            store,
            lambda: connect(*server, identity, SERVER, link=link),
            lambda: connect(*dealer, identity, DEALER, link=link),
            tell,
        )

    return open_client
