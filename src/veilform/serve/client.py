"""The client: sends nothing in the clear, learns the answer and nothing else."""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

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
from veilform.models.bert.secure import Answer, weight_shapes
from veilform.models.bert.sides import ClientSide, Shape
from veilform.models.text import TokenBatch
from veilform.nn.scales import LOGIT
from veilform.protocol.party import Party
from veilform.roles import CLIENT
from veilform.serve import messages as say
from veilform.serve.beside import beside
from veilform.serve.segments import DEALING_S, receive_segments
from veilform.transport import Channel, Kind, PeerError, Traffic
from veilform.transport.control import printable

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


class _Prepared(NamedTuple):
    stock: str
    manifest: Manifest
    seconds: float


class Client(Closing):
    """A connection to one server and one dealer.

    Args:
        side: the public part of the model.
        store: where this client keeps its stocks.
        connect_server, connect_dealer: open the channels.

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
    ) -> None:
        self.side = side
        self._store = store
        store.burn_leftovers()
        self._ready: dict[Shape, deque[_Prepared]] = {}
        self._dealer = connect_dealer()
        try:
            self._server = connect_server()
        except BaseException:
            self._dealer.close()
            raise
        try:
            self._server.send_control(say.Hello(say.PROTOCOL, side.model))
            welcome = self._server.receive_control(say.Welcome)
            if welcome.protocol != say.PROTOCOL:
                raise ProtocolError(
                    f"the server speaks protocol {welcome.protocol}, this program {say.PROTOCOL}"
                )
        except BaseException:
            self.close()
            raise
        self._weights = welcome.weights
        shapes = weight_shapes(side.config, side.scales.private_embedding)
        self._common = CommonParts(welcome.seed, shapes)

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
            self._store.burning(dealt.stock),
            self._telling_server(),
            self._store.incoming(dealt.stock, manifest, dealt.seed) as stock,
            beside(
                lambda: receive_segments(self._dealer, stock.dealt, manifest.dealt_bytes(CLIENT)),
                self._dealer.close,
            ),
        ):
            self._offer(dealt, manifest, shape)
        seconds = time.perf_counter() - start
        self._ready.setdefault(shape, deque()).append(_Prepared(dealt.stock, manifest, seconds))
        return seconds

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
        batch: TokenBatch,
        patience_s: float = PATIENCE_S,
        follow: network.Follow | None = None,
    ) -> tuple[Logits, InferenceCost]:
        """Logits (texts, labels) of padded texts; takes a prepared stock, or has one dealt.

        Args:
            patience_s: how long the server may let it wait for a turn.
            follow: told of every message of the run.

        Raises:
            Overloaded: there was no turn; the stock is kept for the next time.
            RangeError: a value left its calibrated range, so there is no answer.
            ConnectionFailed, ProtocolError, StockError: the run broke off; its stock is burnt.
        """
        shape = Shape(*batch.ids.shape)
        # First of all: an input that cannot be used must not take a stock out of the row.
        inputs = self.side.inputs(batch)
        if not self._ready.get(shape):
            self.prepare(shape)
        prepared = self._ready[shape][0]
        before, start = self._server.counters.snapshot(), time.perf_counter()
        with self._telling_server():
            self._await_turn(prepared, patience_s)
            self._ready[shape].popleft()
            with self._store.burning(prepared.stock):
                stock = self._store.claim(prepared.stock, prepared.manifest)
            program = self.side.program(shape).client(inputs)
            me = Party(CLIENT)
            with stock.ahead():
                answer: Answer = network.run(program, stock, self._server, party=me, follow=follow)
        seconds, operations = time.perf_counter() - start, me.seconds()
        if np.any(answer.flag):
            raise RangeError(
                "a value left the range that the model was calibrated for, so there is no answer; "
                "shorten or rephrase the text, or calibrate the model on texts like it"
            )
        moved = self._server.counters.snapshot() - before
        return fixed.decode(answer.logits, LOGIT), _cost(moved, prepared, seconds, operations)

    def _await_turn(self, prepared: _Prepared, patience_s: float) -> None:
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
        """Ends both connections, and burns what was prepared and not used."""
        self._dealer.close()
        self._server.close()
        for prepared in self._ready.values():
            for one in prepared:
                with contextlib.suppress(StockError):
                    self._store.discard(one.stock)
        self._ready.clear()

    @contextlib.contextmanager
    def _telling_server(self) -> Iterator[None]:
        """Tells the server why this side stops, unless that is the server's own word."""
        try:
            yield
        except (ConnectionFailed, Overloaded):
            raise
        except VeilformError as error:
            if not isinstance(error, PeerError):
                self._server.send_error(str(error))
            raise


def _cost(
    moved: Traffic, prepared: _Prepared, seconds: float, operations: dict[str, float]
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
