"""From settings to models that answer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from veilform.correlation.store import StockStore
from veilform.errors import AuthenticationError, InputError
from veilform.gateway.served import Catalogue, Served
from veilform.gateway.sessions import ClientSession
from veilform.models import families
from veilform.models.answers import TASKS
from veilform.models.sides import ClientSide, Shape
from veilform.observe import Kept, Observer, Queued, ignore, short
from veilform.roles import CLIENT, DEALER, SERVER
from veilform.serve.address import parse
from veilform.serve.client import Client
from veilform.serve.depot import Depot, Level
from veilform.serve.pool import Pool, State
from veilform.settings import GatewaySettings, PublicModelSettings
from veilform.transport import Identity, connect
from veilform.transport.links import named
from veilform.transport.renewal import EndsSoon

PATIENCE_S = 30.0
"""For the runs of a model that is offered no more."""


class Models:
    """The models of the settings, each with a depot and a pool.

    Attributes:
        catalogue: those that are offered.

    Raises:
        InputError, ModelError: a folder, or the stock's, cannot be used.
    """

    def __init__(self, settings: GatewaySettings, tell: Observer = ignore) -> None:
        self._settings, self._tell = settings, tell
        self._ends = EndsSoon(Identity.load(settings.certificates, CLIENT))
        self._ends.look()
        self._store = StockStore(settings.stock, CLIENT)
        with self._opening(settings.model, ()) as served:
            self.catalogue = Catalogue(served)

    def offer(self, models: Sequence[PublicModelSettings]) -> None:
        """Offers these from now on. A model that was offered before goes on with what it has.

        What is offered no more is given `PATIENCE_S` for its runs, and refuses new texts at once.

        Raises:
            InputError, ModelError: a folder cannot be used; nothing has changed.
        """
        with self._opening(models, self.catalogue.all) as served:
            gone = self.catalogue.offer(served)
        for one in gone:
            one.close(PATIENCE_S)

    @contextlib.contextmanager
    def _opening(
        self, models: Sequence[PublicModelSettings], known: Sequence[Served]
    ) -> Iterator[list[Served]]:
        """What is offered as these; what was opened for it is closed if the block fails."""
        sides = [_answered(model.path) for model in models]
        with contextlib.ExitStack() as opened:
            served = []
            for model, side in zip(models, sides, strict=True):
                same = (model.called, model.version, side.model)
                one = next((each for each in known if each.identity == same), None)
                if one is None:
                    one = Served(model.called, model.version, side, *self._opened(side))
                    opened.callback(one.close)
                served.append(one)
            yield served
            opened.pop_all()

    def _opened(self, side: ClientSide) -> tuple[Pool, Depot]:
        settings, connecting = self._settings, self._opener(side)
        depot = Depot(connecting, levels(settings, side), self._kept(side))
        pool = Pool(
            lambda: ClientSession(connecting()),
            side.encoder.pad,
            sessions=settings.sessions,
            most_waiting=settings.queue,
            batches=[size for size in (1, 2, 4, 8, 16, 32, 64) if size <= settings.batch],
            supply=depot,
            tell=self._queued(side),
        )
        return pool, depot

    def _queued(self, side: ClientSide) -> Callable[[State], None]:
        def tell(state: State) -> None:
            self._tell(
                Queued(
                    party=CLIENT.value, model=short(side.model), waiting=state.waiting,
                    running=state.running, sessions=state.connected,
                )
            )  # fmt: skip

        return tell

    def _kept(self, side: ClientSide) -> Callable[[Shape, Level], None]:
        def tell(shape: Shape, level: Level) -> None:
            self._tell(
                Kept(
                    party=CLIENT.value, model=short(side.model), batch=shape.batch,
                    bucket=shape.length, ready=level.ready, wanted=level.wanted,
                )
            )  # fmt: skip

        return tell

    def _opener(self, side: ClientSide) -> Callable[[], Client]:
        """Opens clients of one model."""
        settings = self._settings
        server, dealer = parse(settings.server), parse(settings.dealer)
        link = named(settings.link)

        def open_client() -> Client:
            # Read again each time: certificates are renewed.
            identity = identity_now(settings.certificates)
            self._ends.look()
            return Client(
                side,
                self._store,
                lambda: connect(*server, identity, SERVER, link=link),
                lambda: connect(*dealer, identity, DEALER, link=link),
                self._tell,
            )

        return open_client


def _answered(folder: Path) -> ClientSide:
    side = families.client_side(folder)
    if side.config.task not in TASKS:
        known = ", ".join(TASKS)
        raise InputError(f"{folder} is a {side.config.architecture}; the gateway answers {known}")
    return side


def levels(settings: GatewaySettings, side: ClientSide) -> dict[Shape, int]:
    """How many stocks of each shape to keep ready, of the lengths that the model has."""
    found = {Shape(1, length): settings.ready for length in side.lengths if settings.ready}
    given = {Shape(level.batch, level.length): level.count for level in settings.level}
    return found | {shape: count for shape, count in given.items() if shape.length in side.lengths}


def identity_now(certificates: Path) -> Identity:
    """What the gateway shows its server and dealer.

    Raises:
        AuthenticationError: nothing that can be used; no fault of the texts that wait for it.
    """
    try:
        return Identity.load(certificates, CLIENT)
    except InputError as error:
        raise AuthenticationError(f"the gateway cannot show who it is: {error}") from error
