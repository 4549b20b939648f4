"""The server's connections to its dealer: one for each thread that speaks with it at a time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from veilform.errors import ConnectionFailed, ProtocolError, StockError
from veilform.transport import Channel, PeerError

log = logging.getLogger("veilform")

T = TypeVar("T")


@dataclass(frozen=True, repr=False)
class Answered(Generic[T]):
    """A connection in use, and what it was asked for, which may be a seed."""

    channel: Channel
    answer: T


class Dealers:
    """Opens connections to one dealer as they are needed, and keeps one for the next need.

    So no thread waits for what another one's client is slow in, or keeps from being dealt.

    Args:
        connect: opens a channel.
    """

    def __init__(self, connect: Callable[[], Channel]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._idle: Channel | None = None
        self._open: set[Channel] = set()
        self._closed = False

    def ask(self, act: Callable[[Channel], T]) -> Answered[T]:
        """Speaks with the dealer, on a connection that is the caller's until `release` or `drop`.

        A connection that broke since it was last used is replaced once. The dealer hands a stock
        out once, so asking again cannot bring a second copy.

        Raises:
            StockError: the act's own; the connection is kept for others.
            ProtocolError, ConnectionFailed: never the channel's PeerError or PeerLeft, which the
                service would take for the client's.
        """
        with self._lock:
            kept, self._idle = self._idle, None
        if kept is not None:
            try:
                return self._act(kept, act)
            except ConnectionFailed:
                if self._closed:
                    raise
            log.warning("the connection to the dealer was lost; connecting again")
        try:
            channel = self._opened()
        except (PeerError, ConnectionFailed) as error:
            raise translated(error) from None
        return self._act(channel, act)

    def release(self, channel: Channel) -> None:
        """Gives back a connection that is in step."""
        with self._lock:
            if self._idle is None and not self._closed:
                self._idle = channel
                return
        self.drop(channel)

    def drop(self, channel: Channel) -> None:
        """Closes a connection, and so wakes up whoever waits on it."""
        with self._lock:
            self._open.discard(channel)
        channel.close()

    def close(self) -> None:
        """Closes all of them, whoever waits for the dealer."""
        with self._lock:
            self._closed, self._idle = True, None
            channels = list(self._open)
        for channel in channels:
            self.drop(channel)

    def _act(self, channel: Channel, act: Callable[[Channel], T]) -> Answered[T]:
        try:
            return Answered(channel, act(channel))
        except StockError:
            self.release(channel)
            raise
        except (PeerError, ConnectionFailed) as error:
            self.drop(channel)
            raise translated(error) from None
        except BaseException:
            self.drop(channel)
            raise

    def _opened(self) -> Channel:
        channel = self._connect()
        with self._lock:
            self._open.add(channel)
            closed = self._closed
        if closed:
            self.drop(channel)
            raise ConnectionFailed("this server is being closed")
        return channel


def translated(error: PeerError | ConnectionFailed) -> ProtocolError | ConnectionFailed:
    """What the dealer or its connection reported, in words for a client of this server."""
    if isinstance(error, PeerError):
        return ProtocolError(f"the server's dealer refused: {error}")
    return ConnectionFailed(f"the server has no dealer: {error}")
