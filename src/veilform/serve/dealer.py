"""The dealer's process: masked weights in, stocks out. It sees no input, answer or weight."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from veilform import prg
from veilform.correlation import weights as split
from veilform.correlation.check import check_dealable
from veilform.correlation.manifest import Manifest
from veilform.correlation.store import new_id
from veilform.errors import ProtocolError, StockError
from veilform.observe import Dealt, Observer, ignore, outcome_of
from veilform.ring import Words
from veilform.roles import CLIENT, DEALER, SERVER, Role
from veilform.serve import messages as say
from veilform.serve.dealing import Deals, Here
from veilform.serve.pending import Pending
from veilform.serve.segments import send_segments
from veilform.serve.service import IDLE_S, Service
from veilform.serve.work import Work
from veilform.transport import Channel, Listener

log = logging.getLogger("veilform")

MOST_PENDING = 64
MOST_HELD_BYTES = 16 << 30
"""Of stocks in work, with the masks that their dealing holds, or waiting, together."""
MOST_WEIGHT_SETS = 16
"""Of models: those of several servers, or of one with several. Their bytes have a limit, too."""
PENDING_S = 900.0
"""A stock that the server does not collect within this time is thrown away."""


@dataclass(frozen=True, repr=False)
class _Weights:
    held: Mapping[str, object]
    shapes: Mapping[str, tuple[int, ...]]
    total: int


class Dealer:
    """Serves clients and servers of one deployment, and tells ``tell`` of what it dealt.

    Masked weights, and what the parties have not collected yet, are in memory only and bounded; a
    stock is never held whole, but when it is small. No lock is held while dealing, or while a party
    is read from or written to.

    Args:
        deals: where its computing happens.
    """

    def __init__(self, tell: Observer = ignore, deals: Deals | None = None) -> None:
        self._tell = tell
        self._deals: Deals = deals or Here()
        self._weights: dict[str, _Weights] = {}
        self._pending: dict[str, Pending] = {}
        self._in_work = 0
        self._work = Work()
        self._lock = threading.Lock()

    def service(self, listener: Listener) -> Service:
        """This dealer behind a listener."""
        return Service(listener, (CLIENT, SERVER), self.serve, self._work, self._tell)

    def serve(self, channel: Channel, role: Role) -> None:
        """One party's requests, until it leaves."""
        while True:
            if role is CLIENT:
                order = channel.receive_control(
                    say.Order, limit=say.MOST_MANIFEST_BYTES, timeout_s=IDLE_S
                )
                with self._work.on(channel):
                    _check_protocol(order.protocol)
                    self._deal(channel, Manifest.decode(order.manifest))
            else:
                asked = channel.receive_control(
                    say.Register,
                    say.Collect,
                    say.Probe,
                    limit=say.MOST_MANIFEST_BYTES,
                    timeout_s=IDLE_S,
                )
                with self._work.on(channel):
                    self._serve_server(channel, asked)

    def _serve_server(
        self, channel: Channel, asked: say.Register | say.Collect | say.Probe
    ) -> None:
        _check_protocol(asked.protocol)
        if isinstance(asked, say.Register):
            self._register(channel, asked)
        elif isinstance(asked, say.Collect):
            self._hand_out(channel, asked)
        else:
            channel.send_control(say.Probed(self._knows(asked.weights)))

    def _register(self, channel: Channel, asked: say.Register) -> None:
        total = split.dealer_bytes(asked.shapes)
        if total > say.MOST_WEIGHT_BYTES:
            raise ProtocolError(
                f"weights of {total} bytes are over the limit of {say.MOST_WEIGHT_BYTES}"
            )
        if any(
            len(shape) == 3 and shape[0] > split.MOST_STACKED for shape in asked.shapes.values()
        ):
            raise ProtocolError(f"a stack is over the limit of {split.MOST_STACKED} matrices")
        masked: dict[str, object] = {}
        for name, shape in asked.shapes.items():
            content = channel.receive_bulk(8 * math.prod(shape))
            words: Words = np.frombuffer(content, "<u8").reshape(shape)
            masked[name] = self._deals.hold(name, words)
        weights = _Weights(masked, dict(asked.shapes), total)
        with self._lock:
            self._weights.pop(asked.weights, None)
            self._weights[asked.weights] = weights
            self._drop_old_weights()
        log.info("weights registered: %d arrays, %.0f MB", len(masked), total / 1e6)
        channel.send_control(say.Registered(asked.weights))

    def _knows(self, weights_id: str) -> bool:
        """Whether the weights are here; if so they count as the newest."""
        with self._lock:
            weights = self._weights.pop(weights_id, None)
            if weights is not None:
                self._weights[weights_id] = weights
            return weights is not None

    def _drop_old_weights(self) -> None:
        """Each start of a server brings a new set; those of earlier starts go, the oldest first."""
        while len(self._weights) > 1 and (
            len(self._weights) > MOST_WEIGHT_SETS
            or sum(w.total for w in self._weights.values()) > say.MOST_WEIGHT_BYTES
        ):
            del self._weights[next(iter(self._weights))]

    def _deal(self, channel: Channel, manifest: Manifest) -> None:
        manifest.check_size(say.MOST_DEALT_BYTES)
        masks = check_dealable(manifest)
        weights = self._weights_of(manifest)
        size = sum(manifest.dealt_bytes(role) for role in (CLIENT, SERVER))
        room = size + masks
        with self._lock:
            self._drop_old()
            held = self._in_work + sum(p.queued_bytes for p in self._pending.values())
            if len(self._pending) >= MOST_PENDING or held + room > MOST_HELD_BYTES:
                raise StockError(
                    "too many stocks wait for the server; let it collect them, and try again"
                )
            self._in_work += room
        try:
            self._deal_now(channel, manifest, weights, size)
        finally:
            with self._lock:
                self._in_work -= room

    def _deal_now(
        self, channel: Channel, manifest: Manifest, weights: Mapping[str, object], size: int
    ) -> None:
        stock_id = new_id()
        seeds = {role: prg.fresh_seed() for role in (CLIENT, SERVER)}
        pending = Pending(manifest.digest, seeds[SERVER])
        with self._lock:
            self._pending[stock_id] = pending

        def of_client() -> Iterator[list[memoryview]]:
            for dealt in self._deals.run(manifest, seeds, weights):
                pending.put(dealt[SERVER])
                yield dealt[CLIENT]

        start = time.perf_counter()
        try:
            channel.send_control(say.Dealt(stock_id, seeds[CLIENT]))
            send_segments(channel, of_client())
            pending.end()
            channel.flush()
        except BaseException as error:
            with self._lock:
                self._pending.pop(stock_id, None)
            known = isinstance(error, StockError)
            pending.give_up(str(error) if known else "the dealing of the stock broke off")
            self._tell_of(stock_id, time.perf_counter() - start, 0, error)
            raise
        seconds = time.perf_counter() - start
        self._tell_of(stock_id, seconds, size, None)
        log.info("stock dealt in %.2f s, %.1f MB", seconds, size / 1e6)

    def _tell_of(self, stock: str, seconds: float, size: int, error: BaseException | None) -> None:
        self._tell(
            Dealt(
                party=DEALER.value,
                stock=stock,
                outcome=outcome_of(error),
                seconds=seconds,
                dealt_bytes=size,
            )
        )

    def _weights_of(self, manifest: Manifest) -> Mapping[str, object]:
        """The masked weights that a manifest names, with the shapes that it names."""
        needed = manifest.weight_shapes
        with self._lock:
            weights = self._weights.get(manifest.weights)
        if weights is None:
            if not needed:
                return {}
            raise StockError(
                "the dealer does not have the server's masked weights; connect again, and see that "
                "client and server use one dealer"
            )
        if any(weights.shapes.get(name) != shape for name, shape in needed.items()):
            raise ProtocolError(
                "the manifest's weights are not the registered ones; export the client's folder "
                "with the server's own settings (--private-embedding on both or on neither)"
            )
        return weights.held

    def _hand_out(self, channel: Channel, asked: say.Collect) -> None:
        # Taken out before it is sent: a stock goes out once, even if the sending fails.
        with self._lock:
            self._drop_old()
            pending = self._pending.pop(asked.stock, None)
        reason = ""
        if pending is None:
            reason = (
                "the dealer has no such stock: it was collected, it waited too long, or its "
                "dealing broke off"
            )
        elif pending.manifest != asked.manifest:
            reason = "the stock is for another manifest; client and server run different models"
        if pending is None or reason:
            if pending is not None:
                pending.give_up(reason)
            channel.send_control(say.Refused(asked.stock, reason))
            return
        try:
            channel.send_control(say.Dealt(asked.stock, pending.seed))
            send_segments(channel, pending.parts())
        except StockError as error:
            channel.send_control(say.Refused(asked.stock, str(error)))
        except BaseException:
            pending.give_up("the connection to the server was lost")
            raise

    def _drop_old(self) -> None:
        now = time.monotonic()
        for stock_id, pending in list(self._pending.items()):
            if now - pending.made >= PENDING_S:
                del self._pending[stock_id]
                pending.give_up("the server did not collect the stock in time")


def _check_protocol(version: int) -> None:
    if version != say.PROTOCOL:
        raise ProtocolError(
            f"the peer speaks protocol {version}, this program {say.PROTOCOL}; "
            "install the same release"
        )
