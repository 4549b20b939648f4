"""The server's process: holds the weights, runs the server's part of each inference."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from veilform.correlation.manifest import Manifest
from veilform.correlation.stock import Stock
from veilform.correlation.stockfile import Incoming
from veilform.correlation.store import StockStore
from veilform.drive import network
from veilform.errors import ConnectionFailed, InputError, Overloaded, ProtocolError, StockError
from veilform.models.sides import ServerSide, Shape
from veilform.observe import Observer, Waiting, ignore
from veilform.roles import CLIENT, SERVER, Role
from veilform.serve import messages as say
from veilform.serve import told
from veilform.serve.beside import beside
from veilform.serve.connected import Connected
from veilform.serve.dealers import Dealers, translated
from veilform.serve.held import receive_held, send_held
from veilform.serve.segments import receive_segments
from veilform.serve.served import Models, Served
from veilform.serve.service import IDLE_S, Service
from veilform.serve.told import Named
from veilform.serve.turns import Turns
from veilform.serve.work import Work
from veilform.transport import Channel, Listener, PeerError
from veilform.transport.control import printable

log = logging.getLogger("veilform")

MOST_BATCH = 64
MOST_OFFERED = 64
"""Stocks that one client may have waiting here, over all its connections."""
MOST_HELD_BYTES = 16 << 30
"""Of all clients' stocks that come in, to the disk, or are in use, in memory."""


MOST_AT_ONCE = 8
"""Runs online at a time, of all clients."""
MOST_WAITING = 256
"""Runs that wait for a turn."""


class Server:
    """Serves models to clients, with stocks from one dealer.

    Args:
        models: what is offered; may be exchanged while the server runs.
        connect_dealer: opens a channel to the dealer; called again when one is lost.
        tell: is told of every run, every stock and every connection.
    """

    def __init__(
        self,
        models: Models,
        store: StockStore,
        connect_dealer: Callable[[], Channel],
        tell: Observer = ignore,
    ) -> None:
        self._tell = tell
        self._models = models
        self._store = store
        self._dealers = Dealers(connect_dealer)
        self._turns = Turns(MOST_AT_ONCE, MOST_WAITING)
        self._work = Work()
        self._held = 0
        self._held_lock = threading.Lock()
        self._connected = Connected()
        store.burn_other_weights(served.weights for served in models)

    def service(self, listener: Listener) -> Service:
        """This server behind a listener."""
        return Service(listener, (CLIENT,), self.serve, self._work, self._tell)

    def register(self) -> None:
        """Gives the dealer the masked weights. Needed once, before any client comes."""
        for served in self._models:
            self._dealers.release(self._dealers.ask(served.see_to).channel)

    def offer(self, sides: Sequence[ServerSide]) -> None:
        """Offers these models from now on; those that stay the same keep their masked weights.

        Clients that are connected go on with the model that they came for.

        Raises:
            InputError: a model is given twice, or is too large.
            ConnectionFailed, ProtocolError: the dealer does not take one. Nothing has changed.
        """
        known = {served.side.model: served for served in self._models}
        now = [self._same_or_new(known.get(side.model), side) for side in sides]
        for served in now:
            self._dealers.release(self._dealers.ask(served.see_to).channel)
        self._models.offer(now)

    def _same_or_new(self, known: Served | None, side: ServerSide) -> Served:
        if known is None or known.side.published != side.published:
            return self._models.made(side)
        return known

    def close(self) -> None:
        """Closes the connections to the dealer, whoever waits for it."""
        self._dealers.close()

    def serve(self, channel: Channel, role: Role) -> None:
        """One client's requests, until it leaves."""
        hello = channel.receive_control(say.Hello)
        _check(hello.protocol)
        served = self._models.of(hello.model)
        # A dealer that was restarted in between gets the weights again.
        self._dealers.release(self._dealers.ask(served.see_to).channel)
        channel.send_control(say.Welcome(say.PROTOCOL, served.weights, served.seed, self._store.id))
        # Nobody else can have the client's key, nor know what its folder is called.
        peer = f"{channel.peer_key}/{hello.store}"
        with self._connected.client(peer) as offered:
            while True:
                asked = channel.receive_control(say.Offer, say.Begin, say.Held, timeout_s=IDLE_S)
                with self._work.on(channel):
                    if isinstance(asked, say.Offer):
                        offered.add(asked.stock)
                        self._take_in(channel, served, asked, peer)
                    elif isinstance(asked, say.Begin):
                        self._begin(channel, served, asked, peer)
                    else:
                        self._agree(channel, asked, peer)

    def _agree(self, channel: Channel, first: say.Held, peer: str) -> None:
        """Burns what only this side has of a client's stocks, and says what is left."""
        theirs = receive_held(channel, first)
        with _own_disk():
            # What came while the client made its list is not in it.
            lost = set(self._store.kept(peer)) - theirs - self._connected.offered(peer)
            burnt = self._store.burn_idle(lost, peer)
            kept = self._store.kept(peer)
        if burnt:
            log.info("%d stock(s) burnt that their client has no more", burnt)
        send_held(channel, kept)

    def _take_in(self, channel: Channel, served: Served, offer: say.Offer, peer: str) -> None:
        """Collects the server's part of a stock while the client's corrections come in."""
        if offer.batch > MOST_BATCH:
            raise InputError(f"a batch of {offer.batch} is over the limit of {MOST_BATCH}")
        shape = Shape(offer.batch, offer.length)
        manifest = served.manifest(shape, offer.manifest)
        named = Named(SERVER, served.side.model, shape, offer.stock)
        with told.stocking(self._tell, named, channel):
            self._collect_beside(channel, offer, manifest, peer)

    def _collect_beside(
        self, channel: Channel, offer: say.Offer, manifest: Manifest, peer: str
    ) -> None:
        collected = self._dealers.ask(lambda dealer: _collect(dealer, offer))
        dealer, seed = collected.channel, collected.answer
        # The client knows of it once it is told, and no one burns it before.
        with self._store.burning(offer.stock, peer):
            try:
                with (
                    self._holding(manifest),
                    _own_disk(),
                    self._store.incoming(offer.stock, manifest, seed, peer, MOST_OFFERED) as stock,
                    beside(
                        lambda: _receive_dealt(dealer, stock, manifest),
                        lambda: self._dealers.drop(dealer),
                    ),
                ):
                    channel.receive_bulk_into(stock.corrections, manifest.correction_bytes)
            except BaseException:
                self._dealers.drop(dealer)
                raise
            self._dealers.release(dealer)
            channel.send_control(say.Stored(offer.stock))

    def _begin(self, channel: Channel, served: Served, begin: say.Begin, peer: str) -> None:
        """Runs when there is a turn; otherwise says so, and the stock stays as it is."""
        with _own_disk():
            found = self._store.find(begin.stock, peer)
        shape = Shape(found.batch, found.length) if found else None
        named = Named(SERVER, served.side.model, shape or Shape(0, 0), begin.stock)
        try:
            with (
                told.run(self._tell, named, channel) as watch,
                self._turn(channel, begin.patience_ms / 1000),
            ):
                watch.begins()
                self._run(channel, served, begin, shape, peer)
        except Overloaded as error:
            channel.send_control(say.Busy(begin.stock, str(error)))

    @contextlib.contextmanager
    def _turn(self, channel: Channel, patience_s: float) -> Iterator[None]:
        try:
            with self._turns.turn(channel, patience_s):
                yield
        finally:
            self._tell(Waiting(party=SERVER.value, count=self._turns.waiting))

    def _run(
        self,
        channel: Channel,
        served: Served,
        begin: say.Begin,
        shape: Shape | None,
        peer: str,
    ) -> None:
        with self._store.burning(begin.stock, peer):
            _check(begin.protocol)
            if begin.model != served.side.model:
                raise ProtocolError("this connection is for another model")
            if shape is None:
                raise ProtocolError(
                    f"stock {begin.stock} was not offered by this client, or was used already"
                )
            manifest = served.manifest(shape, begin.manifest)
            with self._holding(manifest):
                with _own_disk():
                    stock = self._store.claim(begin.stock, manifest, peer)
                _answer(channel, served.side, begin, shape, stock)

    @contextlib.contextmanager
    def _holding(self, manifest: Manifest) -> Iterator[None]:
        """Room for one stock's bytes, before any of them is received or read.

        Raises:
            StockError: there is none.
        """
        size = manifest.dealt_bytes(SERVER) + manifest.correction_bytes
        with self._held_lock:
            if size > say.MOST_DEALT_BYTES:
                raise StockError("a stock for so large a batch is too large; use a smaller batch")
            if self._held + size > MOST_HELD_BYTES:
                raise StockError("the server is busy with other clients' stocks; try again later")
            self._held += size
        try:
            yield
        finally:
            with self._held_lock:
                self._held -= size


def _check(protocol: int) -> None:
    if protocol != say.PROTOCOL:
        raise ProtocolError(
            f"the client speaks protocol {protocol}, the server {say.PROTOCOL}; "
            "install the same release"
        )


def _answer(
    channel: Channel, side: ServerSide, begin: say.Begin, shape: Shape, stock: Stock
) -> None:
    program = side.program(shape)
    weights = side.server_weights(shape.length)
    channel.send_control(say.Begun(begin.stock))
    start = time.perf_counter()
    with stock.ahead():
        network.run(program.server(weights), stock, channel)
    seconds = time.perf_counter() - start
    log.info("answered %d input(s) padded to %d in %.2f s", shape.batch, shape.length, seconds)


def _collect(dealer: Channel, offer: say.Offer) -> bytes:
    """Asks for a stock: the server's seed, after which its dealt bytes come in segments."""
    dealer.send_control(say.Collect(say.PROTOCOL, offer.stock, offer.manifest))
    dealt = dealer.receive_control(say.Dealt, say.Refused)
    if dealt.stock != offer.stock:
        raise ProtocolError("the dealer handed out another stock than it was asked for")
    if isinstance(dealt, say.Refused):
        raise StockError(printable(dealt.reason))
    return dealt.seed


def _receive_dealt(dealer: Channel, stock: Incoming, manifest: Manifest) -> None:
    try:
        receive_segments(dealer, stock.dealt, manifest.dealt_bytes(SERVER))
    except (PeerError, ConnectionFailed) as error:
        raise translated(error) from None


@contextlib.contextmanager
def _own_disk() -> Iterator[None]:
    """What is wrong with this machine's disk is for its operator to know, and not for clients."""
    try:
        yield
    except StockError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        log.error("%s", error)
        raise StockError(
            "the server cannot keep stocks; its operator finds why in its log"
        ) from None
