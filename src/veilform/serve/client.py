"""The client: sends nothing in the clear, learns the answer and nothing else."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from veilform import fixed
from veilform.closing import Closing
from veilform.correlation.manifest import Manifest
from veilform.correlation.masks import corrections
from veilform.correlation.store import StockStore
from veilform.correlation.weights import CommonParts
from veilform.drive import network
from veilform.errors import (
    ConnectionFailed,
    Overloaded,
    ProtocolError,
    RangeError,
    StockError,
    VeilformError,
)
from veilform.models.sides import Answer, Batch, ClientSide, Shape
from veilform.nn.scales import LOGIT
from veilform.observe import Observer, ignore
from veilform.protocol.party import Party
from veilform.roles import CLIENT
from veilform.serve import messages as say
from veilform.serve import told
from veilform.serve.beside import beside
from veilform.serve.held import receive_held, send_held
from veilform.serve.segments import DEALING_S, receive_segments
from veilform.transport import Channel, Kind, PeerError, Traffic
from veilform.transport.control import printable

log = logging.getLogger("veilform")

Logits = npt.NDArray[np.float64]

PATIENCE_S = 60.0
ANSWER_S = 30.0
"""On top of the patience: for the server to mark its stock used, and say so."""


class InferenceCost(NamedTuple):
    """What one inference took. Bytes are as counted on the channel, frame headers included.

    Attributes:
        online_seconds: from the input to the answer.
        offline_seconds: dealing, and what client and server prepared before the input.
        bytes_client_to_server, bytes_server_to_client, messages: online.
        offline_bytes: dealer to both parties, and client to server ahead.
        operations: seconds online of each operation of the model.
    """

    online_seconds: float
    offline_seconds: float
    bytes_client_to_server: int
    bytes_server_to_client: int
    messages: int
    offline_bytes: int
    operations: dict[str, float]


class Prepared(NamedTuple):
    """A stock that is held for one run. `Client.infer` uses it up, `Client.release` lets it go.

    Attributes:
        stock: its id.
        manifest: what it is for.
        seconds: that its making took.
    """

    stock: str
    manifest: Manifest
    seconds: float


class Client(Closing):
    """A connection to one server and one dealer.

    Its stocks are in the store, and stay there when it ends: clients of one store and server, in
    one process or several, now or later, take each other's. A stock is one client's at a time.

    Args:
        side: the public part of the model.
        store: where this client keeps its stocks; may be shared.
        connect_server, connect_dealer: open the channels.
        tell: is told of every run and every stock.

    Raises:
        ConnectionFailed, ProtocolError: the server or dealer cannot be reached, or serves another
            model.
    """

    def __init__(
        self,
        side: ClientSide,
        store: StockStore,
        connect_server: Callable[[], Channel],
        connect_dealer: Callable[[], Channel],
        tell: Observer = ignore,
    ) -> None:
        self.side = side
        self._tell = tell
        self._store = store
        self._dealer = connect_dealer()
        try:
            self._server = connect_server()
        except BaseException:
            self._dealer.close()
            raise
        try:
            self._server.send_control(say.Hello(say.PROTOCOL, side.model, store.id))
            welcome = self._server.receive_control(say.Welcome)
            if welcome.protocol != say.PROTOCOL:
                raise ProtocolError(
                    f"the server speaks protocol {welcome.protocol}, this program {say.PROTOCOL}"
                )
            self._weights, self._peer = welcome.weights, welcome.store
            self._agree()
        except BaseException:
            self.close()
            raise
        self._common = CommonParts(welcome.seed, side.weight_shapes)

    def _agree(self) -> None:
        """Burns what only this side has of the stocks for this server; the server does likewise."""
        mine = self._store.kept(self._peer)
        send_held(self._server, mine)
        theirs = receive_held(self._server)
        # One that is coming may not have reached the server yet.
        lost = [stock for stock, is_fresh in mine.items() if is_fresh and stock not in theirs]
        if burnt := self._store.burn_idle(lost, self._peer):
            log.info("%d stock(s) burnt that the server has no more", burnt)

    def ready(self, shape: Shape) -> int:
        """How many stocks for runs of this shape could be taken. Also when this is closed.

        Raises:
            InputError: the model has no such length.
            StockError: the disk refuses.
        """
        return self._store.ready(self.side.manifest(shape, self._weights), self._peer)

    def take(self, shape: Shape) -> Prepared | None:
        """Holds a stock for a run of this shape, if there is one. Also when this is closed.

        Raises:
            InputError: the model has no such length.
            StockError: the disk refuses.
        """
        manifest = self.side.manifest(shape, self._weights)
        row = self._store.take(manifest, self._peer)
        return Prepared(row.id, manifest, row.seconds) if row else None

    def release(self, prepared: Prepared) -> None:
        """Lets go of a stock that was taken, for others to take. Nothing happens if it was used.

        Raises:
            StockError: the disk refuses.
        """
        self._store.release(prepared.stock)

    def prepare(self, shape: Shape) -> float:
        """Has one stock dealt for runs of this shape, ahead of its use; the seconds it took.

        Raises:
            InputError: the model has no such length.
            ConnectionFailed, ProtocolError, StockError: dealer, server or disk refuse.
        """
        start = time.perf_counter()
        manifest = self.side.manifest(shape, self._weights)
        self._dealer.send_control(
            say.Order(say.PROTOCOL, manifest.encode()), limit=say.MOST_MANIFEST_BYTES
        )
        dealt = self._dealer.receive_control(say.Dealt, timeout_s=DEALING_S)
        # Dealing goes on while the server collects its part, and gets the corrections from here.
        with (
            told.stocking(self._tell, self._named(shape, dealt.stock), self._server),
            self._telling_server(),
            self._store.incoming(dealt.stock, manifest, dealt.seed, self._peer) as stock,
            beside(
                lambda: receive_segments(self._dealer, stock.dealt, manifest.dealt_bytes(CLIENT)),
                self._dealer.close,
            ),
        ):
            self._offer(dealt, manifest, shape)
        return time.perf_counter() - start

    def _offer(self, dealt: say.Dealt, manifest: Manifest, shape: Shape) -> None:
        """Has the server collect its part, and sends it the corrections."""
        self._server.send_control(
            say.Offer(dealt.stock, manifest.digest, shape.batch, shape.length)
        )
        ahead = corrections(manifest, dealt.seed, self._common)
        # Made one by one, as the server takes them.
        self._server.send_bulk(ahead, manifest.correction_bytes)
        stored = self._server.receive_control(say.Stored, timeout_s=DEALING_S)
        if stored.stock != dealt.stock:
            raise ProtocolError("the server stored another stock than it was offered")

    def infer(
        self,
        batch: Batch,
        patience_s: float = PATIENCE_S,
        stock: Prepared | None = None,
        follow: network.Follow | None = None,
    ) -> tuple[Logits, InferenceCost]:
        """Outputs (inputs, L) of a batch; takes a prepared stock, or has one dealt.

        Args:
            patience_s: how long the server may let it wait for a turn.
            stock: what to run with, when it was taken already.
            follow: told of every message of the run.

        Raises:
            Overloaded: there was no turn; the stock is kept for the next time.
            RangeError: a value left its calibrated range, so there is no answer.
            ConnectionFailed, ProtocolError, StockError: the run broke off; its stock is burnt.
        """
        shape = batch.shape
        # First of all: an input that cannot be used must not take a stock out of the row.
        try:
            inputs = self.side.inputs(batch)
        except BaseException:
            if stock is not None:
                self.release(stock)
            raise
        prepared = stock or self.take(shape)
        while prepared is None:
            self.prepare(shape)
            prepared = self.take(shape)  # unless another client was quicker
        before, start = self._server.counters.snapshot(), time.perf_counter()
        with told.run(self._tell, self._named(shape, prepared.stock), self._server) as watch:
            # Whether a value is out of range is for this side alone: it is looked at last.
            answer, operations = self._run(shape, inputs, prepared, patience_s, follow, watch)
            seconds = time.perf_counter() - start
            if np.any(answer.flag):
                raise RangeError(
                    "a value left the range that the model was calibrated for, so there is no "
                    "answer; shorten or rephrase the text, or calibrate the model on texts like it"
                )
        moved = self._server.counters.snapshot() - before
        return fixed.decode(answer.logits, LOGIT), _cost(moved, prepared, seconds, operations)

    def _run(
        self,
        shape: Shape,
        inputs: Any,
        prepared: Prepared,
        patience_s: float,
        follow: network.Follow | None,
        watch: told.Watch,
    ) -> tuple[Answer, dict[str, float]]:
        """The answer, and the seconds of each operation."""
        with self._telling_server(), self._spending(prepared):
            self._await_turn(prepared, patience_s)
            watch.begins()
            randomness = self._store.claim(prepared.stock, prepared.manifest, self._peer)
            program = self.side.program(shape).client(inputs)
            me = Party(CLIENT)
            with randomness.ahead():
                answer: Answer = network.run(
                    program, randomness, self._server, party=me, follow=follow
                )
        return answer, me.seconds()

    def _named(self, shape: Shape, stock: str) -> told.Named:
        return told.Named(CLIENT, self.side.model, shape, stock)

    def _await_turn(self, prepared: Prepared, patience_s: float) -> None:
        """Has the server begin. Its part of the stock is used from then on, this side's is not.

        Raises:
            Overloaded: there is no turn. The stock stays fresh on both sides.
        """
        patience_ms = min(math.ceil(1000 * patience_s), say.MOST_PATIENCE_MS)
        self._server.send_control(
            say.Begin(
                say.PROTOCOL,
                self.side.model,
                prepared.manifest.digest,
                prepared.stock,
                patience_ms,
            )
        )
        timeout_s = ANSWER_S + patience_s
        begun = self._server.receive_control(say.Begun, say.Busy, timeout_s=timeout_s)
        if begun.stock != prepared.stock:
            raise ProtocolError("the server began with another stock")
        if isinstance(begun, say.Busy):
            raise Overloaded(f"the server is busy: {printable(begun.reason)}")

    def close(self) -> None:
        """Ends both connections. What was prepared and not used stays in the store."""
        self._dealer.close()
        self._server.close()

    @contextlib.contextmanager
    def _spending(self, prepared: Prepared) -> Iterator[None]:
        """Releases a stock if there was no turn, burns it if anything else goes wrong."""
        try:
            yield
        except Overloaded:
            self.release(prepared)
            raise
        except BaseException:
            with contextlib.suppress(StockError):
                self._store.discard(prepared.stock, self._peer)
            raise

    @contextlib.contextmanager
    def _telling_server(self) -> Iterator[None]:
        """Tells the server why this side stops, unless that is the server's own word."""
        try:
            yield
        except (ConnectionFailed, Overloaded):
            raise
        except VeilformError as error:
            if not isinstance(error, PeerError):
                # What is wrong with this machine's disk, and where, is not for the server to know.
                own = isinstance(error.__cause__, OSError)
                self._server.send_error("it cannot keep stocks" if own else str(error))
            raise


def _cost(
    moved: Traffic, prepared: Prepared, seconds: float, operations: dict[str, float]
) -> InferenceCost:
    up, down = moved.sent[Kind.DATA], moved.received[Kind.DATA]
    return InferenceCost(
        online_seconds=seconds,
        offline_seconds=prepared.seconds,
        bytes_client_to_server=up.wire_bytes,
        bytes_server_to_client=down.wire_bytes,
        messages=up.frames + down.frames,
        offline_bytes=prepared.manifest.offline_bytes,
        operations=operations,
    )
