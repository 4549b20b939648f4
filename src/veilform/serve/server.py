"""The server's process: holds the weights, runs the server's part of each inference."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator

from veilform.correlation.manifest import Manifest
from veilform.correlation.stock import Stock
from veilform.correlation.stockfile import Incoming
from veilform.correlation.store import StockStore
from veilform.correlation.weights import dealer_bytes
from veilform.drive import network
from veilform.errors import ConnectionFailed, InputError, ProtocolError, StockError
from veilform.models.bert.sides import ServerSide, Shape, fresh_weights
from veilform.roles import CLIENT, Role
from veilform.serve import messages as say
from veilform.serve.beside import beside
from veilform.serve.dealers import Dealers, translated
from veilform.serve.segments import DEALING_S, receive_segments
from veilform.serve.service import IDLE_S, Service
from veilform.transport import Channel, Listener, PeerError
from veilform.transport.control import printable

log = logging.getLogger("veilform")

MOST_BATCH = 64
MOST_OFFERED = 16
"""Stocks that one client may have waiting here."""
MOST_HELD_BYTES = 16 << 30
"""Of all clients' stocks that come in, to the disk, or are in use, in memory."""


class Server:
    """Serves one model to clients, with stocks from one dealer.

    Args:
        connect_dealer: opens a channel to the dealer; called again when one is lost.
    """

    def __init__(
        self, side: ServerSide, store: StockStore, connect_dealer: Callable[[], Channel]
    ) -> None:
        self._side = side
        self._store = store
        self._dealers = Dealers(connect_dealer, self._greet)
        self._held = 0
        self._held_lock = threading.Lock()
        store.burn_leftovers()
        # One set of masked weights a process: their common part goes to every client.
        self._weights, self._seed = fresh_weights()

    def service(self, listener: Listener) -> Service:
        """This server behind a listener."""
        return Service(listener, (CLIENT,), self.serve)

    def register(self) -> None:
        """Gives the dealer the masked weights. Needed once, before any client comes."""
        self._dealers.release(self._dealers.ask(lambda dealer: None).channel)

    def close(self) -> None:
        """Closes the connections to the dealer, whoever waits for it."""
        self._dealers.close()

    def serve(self, channel: Channel, role: Role) -> None:
        """One client's requests, until it leaves."""
        hello = channel.receive_control(say.Hello)
        self._check(hello.protocol, hello.model)
        # A dealer that was restarted in between gets the weights again.
        self._dealers.release(self._dealers.ask(self._probe).channel)
        channel.send_control(say.Welcome(say.PROTOCOL, self._weights, self._seed))
        shapes: dict[str, Shape] = {}
        try:
            while True:
                asked = channel.receive_control(say.Offer, say.Begin, timeout_s=IDLE_S)
                if isinstance(asked, say.Offer):
                    shapes[asked.stock] = self._take_in(channel, asked, len(shapes))
                else:
                    self._run(channel, asked, shapes)
        finally:
            # What a client leaves unused nobody else can use.
            for stock in shapes:
                with contextlib.suppress(StockError):
                    self._store.discard(stock)

    def _take_in(self, channel: Channel, offer: say.Offer, waiting: int) -> Shape:
        """Collects the server's part of a stock while the client's corrections come in."""
        if offer.batch > MOST_BATCH:
            raise InputError(f"a batch of {offer.batch} texts is over the limit of {MOST_BATCH}")
        if waiting >= MOST_OFFERED:
            raise StockError(f"{waiting} stocks of this client wait already; use them first")
        shape = Shape(offer.batch, offer.length)
        manifest = self._manifest(shape, offer.manifest)
        collected = self._dealers.ask(lambda dealer: self._collect(dealer, offer))
        dealer, seed = collected.channel, collected.answer
        # The client knows of it once it is told, and no one burns it before.
        with self._store.burning(offer.stock):
            try:
                with (
                    self._holding(manifest),
                    _own_disk(),
                    self._store.incoming(offer.stock, manifest, seed) as stock,
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
        return shape

    def _run(self, channel: Channel, begin: say.Begin, shapes: dict[str, Shape]) -> None:
        shape = shapes.pop(begin.stock, None)
        try:
            self._check(begin.protocol, begin.model)
            if shape is None:
                raise ProtocolError(
                    f"stock {begin.stock} was not offered on this connection, or was used already"
                )
            manifest = self._manifest(shape, begin.manifest)
            with self._holding(manifest):
                with _own_disk():
                    stock = self._store.claim(begin.stock, manifest)
                self._answer(channel, begin, shape, stock)
        except BaseException:
            self._store.discard(begin.stock)
            raise

    def _answer(self, channel: Channel, begin: say.Begin, shape: Shape, stock: Stock) -> None:
        program = self._side.program(shape)
        weights = self._side.server_weights(shape.length)
        channel.send_control(say.Begun(begin.stock))
        start = time.perf_counter()
        with stock.ahead():
            network.run(program.server(weights), stock, channel)
        seconds = time.perf_counter() - start
        log.info(
            "answered %d text(s) padded to %d tokens in %.2f s", shape.batch, shape.length, seconds
        )

    @contextlib.contextmanager
    def _holding(self, manifest: Manifest) -> Iterator[None]:
        """Room for one stock's bytes, before any of them is received or read.

        Raises:
            StockError: there is none.
        """
        size = manifest.dealt_bytes(Role.SERVER) + manifest.correction_bytes
        with self._held_lock:
            if size > say.MOST_DEALT_BYTES:
                raise StockError("a stock for this many texts is too large; use a smaller batch")
            if self._held + size > MOST_HELD_BYTES:
                raise StockError("the server is busy with other clients' stocks; try again later")
            self._held += size
        try:
            yield
        finally:
            with self._held_lock:
                self._held -= size

    def _check(self, protocol: int, model: str) -> None:
        if protocol != say.PROTOCOL:
            raise ProtocolError(
                f"the client speaks protocol {protocol}, the server {say.PROTOCOL}; "
                "install the same release"
            )
        if model != self._side.model:
            raise ProtocolError(
                "the client's model is not the one served here; get the client's folder from this "
                "server's operator (veilform export)"
            )

    def _manifest(self, shape: Shape, digest: str) -> Manifest:
        manifest = self._side.manifest(shape, self._weights)
        if manifest.digest != digest:
            raise ProtocolError(
                "client and server derive different manifests; install the same release on both "
                "sides, and export the client's folder again"
            )
        return manifest

    def _collect(self, dealer: Channel, offer: say.Offer) -> bytes:
        """Asks for a stock: the server's seed, after which its dealt bytes come in segments."""
        dealer.send_control(say.Collect(say.PROTOCOL, offer.stock, offer.manifest))
        dealt = dealer.receive_control(say.Dealt, say.Refused)
        if dealt.stock != offer.stock:
            raise ProtocolError("the dealer handed out another stock than it was asked for")
        if isinstance(dealt, say.Refused):
            raise StockError(printable(dealt.reason))
        return dealt.seed

    def _greet(self, dealer: Channel, first: bool) -> None:
        """Sees to it that the dealer has the masked weights."""
        if first:
            self._register(dealer)
        else:
            self._probe(dealer)

    def _probe(self, dealer: Channel) -> None:
        dealer.send_control(say.Probe(say.PROTOCOL, self._weights))
        if not dealer.receive_control(say.Probed).known:
            self._register(dealer)

    def _register(self, dealer: Channel) -> None:
        shapes = self._side.weight_shapes
        total = dealer_bytes(shapes)
        if total > say.MOST_WEIGHT_BYTES:
            raise InputError(
                f"weights of {total} bytes are over the limit of {say.MOST_WEIGHT_BYTES}"
            )
        dealer.send_control(
            say.Register(say.PROTOCOL, self._weights, shapes), limit=say.MOST_MANIFEST_BYTES
        )
        for masked in self._side.masked(self._seed):
            dealer.send_bulk([memoryview(masked).cast("B")], masked.nbytes)
        dealer.receive_control(say.Registered, timeout_s=DEALING_S)


def _receive_dealt(dealer: Channel, stock: Incoming, manifest: Manifest) -> None:
    try:
        receive_segments(dealer, stock.dealt, manifest.dealt_bytes(Role.SERVER))
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
