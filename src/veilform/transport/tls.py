"""Channels over mutually authenticated TLS 1.3: `connect` to a party, or `Listener.accept` one.

In TLS 1.3 the connecting side is done before the other has looked at its certificate, and learns
of a refusal at its first read. So the accepting side greets first, and `connect` reads that.
"""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Collection

from veilform.closing import Closing
from veilform.errors import AuthenticationError, ConnectionFailed, InputError, VeilformError
from veilform.roles import Role
from veilform.transport.arrivals import Arrival, Arrivals
from veilform.transport.channel import Channel
from veilform.transport.control import Control
from veilform.transport.engine import TlsEngine
from veilform.transport.handshake import (
    close_quietly,
    explain,
    key_of,
    prepare,
    role_of,
    system_reason,
    tls_context,
)
from veilform.transport.identity import Identity, host_name
from veilform.transport.inbound import PeerError
from veilform.transport.links import Link, shaped
from veilform.transport.renewal import Contexts
from veilform.transport.settings import Settings
from veilform.transport.sockets import NothingSaid, TlsStream, bound, drain, shake_hands
from veilform.transport.streams import Deadline

_REFUSAL_S = 1.0
_GREETING_BYTES = 256
_BACKLOG = 64


class Greeting(Control, frozen=True):
    """The accepting side's first frame: it has accepted the connecting side."""

    role: str


def connect(
    host: str,
    port: int,
    identity: Identity,
    expect: Role,
    timeout_s: float = 10.0,
    *,
    settings: Settings | None = None,
    link: Link | None = None,
) -> Channel:
    """A channel to the party ``expect``, which listens at ``host``:``port``.

    Args:
        timeout_s: seconds for each of: reaching it, the handshake, its greeting.
        settings: limits of the channel.
        link: shape what this side sends.

    Raises:
        ConnectionFailed: it cannot be reached, or is no party of this release.
        AuthenticationError: it is not ``expect`` of this deployment, or refuses this side.
        InputError: the identity's files cannot be used.
    """
    whence = f"the {expect.value} at {host}:{port}"
    context = tls_context(identity, listening=False)
    try:
        plain = socket.create_connection((host, port), timeout_s)
    except (OSError, OverflowError, UnicodeError) as error:
        raise ConnectionFailed(
            f"cannot reach {whence}: {system_reason(error)}; "
            f"start it with `veilform {expect.command}`, or check the address"
        ) from error
    engine = TlsEngine(context, host_name(expect))
    try:
        prepare(plain)
        shake_hands(plain, engine, timeout_s)
        if role_of(engine.peer_certificate, whence) is not expect:
            raise AuthenticationError(f"{whence} was refused: its certificate is another role's")
    except OSError as error:
        close_quietly(plain)
        raise explain(error, whence) from error
    except BaseException:
        close_quietly(plain)
        raise
    channel = Channel(shaped(TlsStream(plain, engine), link), expect, settings)
    try:
        channel.receive_control(Greeting, limit=_GREETING_BYTES, timeout_s=timeout_s)
    except BaseException as error:
        channel.close()
        if isinstance(error, ConnectionFailed) and isinstance(error.__cause__, OSError):
            raise explain(error.__cause__, whence) from error
        if isinstance(error, PeerError):
            raise AuthenticationError(f"no connection with {whence}: {error}") from None
        raise
    return channel


class Listener(Closing):
    """Accepts parties of the deployment at ``host``:``port`` (port 0: any free one, see `port`).

    A renewed certificate counts from the next connection on. Who connects and leaves without a
    word, as a probe does, is passed over.

    Args:
        opened: listen from the start, and not only after `open`.
        inherited: the descriptor of a socket that has the address, from another process.

    Handshakes run beside each other in threads of bounded number and time, so a stranger who
    says nothing keeps nobody waiting.

    Raises:
        ConnectionFailed: the port is in use, or the address is not this machine's.
        InputError: the identity's files cannot be used, or it is the client's, who never listens.
    """

    def __init__(
        self,
        host: str,
        port: int,
        identity: Identity,
        *,
        handshake_timeout_s: float = 5.0,
        settings: Settings | None = None,
        link: Link | None = None,
        opened: bool = True,
        inherited: int | None = None,
    ) -> None:
        if identity.role is Role.CLIENT:
            raise InputError("the client connects and never listens: use the server's identity")
        self.role = identity.role
        self._contexts = Contexts(identity, listening=True)
        self._handshake_timeout_s = handshake_timeout_s
        self._settings = settings
        self._link = link
        if not 0 <= port < 2**16:
            raise InputError(f"cannot listen at {host}:{port}: a port is a number below 65536")
        self.host = host
        try:
            self._socket = (
                bound(host, port) if inherited is None else socket.socket(fileno=inherited)
            )
        except OSError as error:
            raise _cannot_listen(host, port, error) from error
        self.port: int = self._socket.getsockname()[1]
        self._socket.setblocking(False)
        self._wake, self._waker = socket.socketpair()
        self._arrivals = Arrivals(self._handshake, lambda: self._waker.send(b"\0"))
        self._lock = threading.Lock()
        self._accepting = threading.RLock()
        self._closed = False
        if opened:
            try:
                self.open()
            except BaseException:
                self.close()
                raise

    def __repr__(self) -> str:
        return f"Listener({self.role.value} at {self.host}:{self.port})"

    def fileno(self) -> int:
        """The descriptor of its socket, for a process that is to listen there, too."""
        return self._socket.fileno()

    def open(self) -> None:
        """Listen. Until then the port is this listener's, and refuses connections.

        Raises:
            ConnectionFailed: another process listens there since.
        """
        try:
            self._socket.listen(_BACKLOG)
        except OSError as error:
            raise _cannot_listen(self.host, self.port, error) from error

    def accept(
        self, expect: Collection[Role], timeout_s: float | None = None
    ) -> tuple[Channel, Role]:
        """The next party whose role is in ``expect``. One thread may wait here.

        A connection that fails its handshake raises; the listener goes on, so call again.

        Args:
            timeout_s: seconds to wait; None waits for ever.

        Raises:
            AuthenticationError: a peer without a certificate of the deployment, or of a role that
                is not expected.
            ConnectionFailed: a peer that speaks no TLS 1.3, nobody in time, or a closed listener.
        """
        with self._accepting:
            arrival = self._next_arrival(timeout_s)
            return self._welcome(arrival, expect)

    def close(self) -> None:
        """Stop listening, end the handshakes that still run. May be called again."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._waker.send(b"\0")
        self._arrivals.close()
        with self._accepting:
            for each in (self._socket, self._wake, self._waker):
                each.close()

    def _next_arrival(self, timeout_s: float | None) -> Arrival:
        """Start handshakes for who connects, until one of them is finished."""
        deadline = Deadline(timeout_s if timeout_s is not None else threading.TIMEOUT_MAX)
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while True:
            if self._closed:
                raise ConnectionFailed("the listener is closed")
            if (arrival := self._arrivals.next()) is not None:
                return arrival
            try:
                left_ms = min(deadline.left() * 1000, 2**30)
            except TimeoutError:
                raise ConnectionFailed(f"nobody connected within {timeout_s:g} s") from None
            ready = {descriptor for descriptor, _ in poll.poll(left_ms)}
            if self._wake.fileno() in ready:
                self._wake.recv(1)
            if self._socket.fileno() in ready:
                self._begin()

    def _begin(self) -> None:
        """Take a TCP connection and start its handshake."""
        try:
            plain, address = self._socket.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # it went away again
        except OSError as error:
            raise ConnectionFailed(f"cannot accept a connection: {system_reason(error)}") from error
        self._arrivals.begin(plain, f"the peer at {address[0]}:{address[1]}")

    def _handshake(self, plain: socket.socket, whence: str) -> Arrival:
        try:
            prepare(plain)
            engine = TlsEngine(self._contexts.current(), None)
            shake_hands(plain, engine, self._handshake_timeout_s)
            role = role_of(engine.peer_certificate, whence)
            return Arrival(TlsStream(plain, engine), role, key_of(engine.peer_certificate_der))
        except NothingSaid:
            close_quietly(plain)
            raise
        except Exception as error:  # a stranger must not end the listener
            refusal = error if isinstance(error, VeilformError) else explain(error, whence)
            drain(plain, _REFUSAL_S)
            close_quietly(plain)
            return Arrival(error=refusal)

    def _welcome(self, arrival: Arrival, expect: Collection[Role]) -> tuple[Channel, Role]:
        if arrival.stream is None or arrival.role is None:
            raise arrival.error or ConnectionFailed("a handshake failed")
        stream = shaped(arrival.stream, self._link)
        channel = Channel(stream, arrival.role, self._settings, arrival.key)
        if arrival.role not in expect:
            channel.send_error(f"it does not talk to the {arrival.role.value} here")
            channel.close()
            raise AuthenticationError(
                f"the {arrival.role.value} was refused: it is not expected here, "
                "check which address it was given"
            )
        channel.send_control(Greeting(self.role.value))
        return channel, arrival.role


def _cannot_listen(host: str, port: int, error: OSError) -> ConnectionFailed:
    return ConnectionFailed(
        f"cannot listen at {host}:{port}: {system_reason(error)}; "
        "stop what uses it, or choose another address"
    )
