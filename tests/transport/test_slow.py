"""Strangers that are slow on purpose, and many at once: they keep nobody out, and hold little."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from veilform.errors import ConnectionFailed
from veilform.roles import CLIENT, DEALER, Role
from veilform.transport import Identity, Kind, Listener, Settings, arrivals, connect
from veilform.transport.frames import HEADER_BYTES, encode_header

HOST = "127.0.0.1"
Background = Callable[..., Future[Any]]


@pytest.fixture
def listener(identities: dict[Role, Identity], in_background: Background) -> Iterator[Listener]:
    """Patient with handshakes: nothing here waits for their time to be over.

    Closed before what runs in the background is waited for: a test that fails leaves a call there.
    """
    with Listener(HOST, 0, identities[DEALER], handshake_timeout_s=60.0) as listening:
        yield listening


def accepted(listener: Listener, in_background: Background) -> Future[Any]:
    """The first party that gets through; failed handshakes are passed over."""

    def accept() -> Any:
        while True:
            try:
                return listener.accept({CLIENT})
            except ConnectionFailed as error:
                if "is closed" in str(error):
                    raise

    return in_background(accept)


def handshakes() -> int:
    return sum(each.name == "veilform-handshake" for each in threading.enumerate())


def test_slow_handshakes_make_room(
    listener: Listener,
    identities: dict[Role, Identity],
    in_background: Background,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arrivals, "GRACE_S", 0.05)
    coming = accepted(listener, in_background)
    with contextlib.ExitStack() as stack:
        strangers = [
            stack.enter_context(socket.create_connection((HOST, listener.port)))
            for _ in range(arrivals.AT_ONCE)
        ]
        for at in range(8):  # a byte now and then, of a record that never ends
            for stranger in strangers:
                stranger.sendall(b"\x16\x03\x01\x40\x00\x01\x00\x3f"[at : at + 1])
            time.sleep(0.02)
        assert handshakes() == arrivals.AT_ONCE
        with connect(HOST, listener.port, identities[CLIENT], DEALER, 10.0):
            channel, role = coming.result(10)
            channel.close()
        assert role is CLIENT


def test_a_young_handshake_keeps_its_place(listener: Listener, in_background: Background) -> None:
    """Or a flood would end the honest ones, too."""
    accepted(listener, in_background)
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(socket.create_connection((HOST, listener.port)))
        first.sendall(b"\x16")
        first.settimeout(0.2)
        for _ in range(2 * arrivals.AT_ONCE):
            stack.enter_context(socket.create_connection((HOST, listener.port)))
        with pytest.raises(TimeoutError):  # and not hung up on
            first.recv(1)
        assert handshakes() == arrivals.AT_ONCE
        listener.close()


def test_a_flood_of_strangers(
    listener: Listener,
    identities: dict[Role, Identity],
    in_background: Background,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arrivals, "GRACE_S", 0.02)
    coming = accepted(listener, in_background)
    ending, most = threading.Event(), 0

    def flood() -> None:
        held: list[socket.socket] = []
        while not ending.is_set():
            with contextlib.suppress(OSError):
                held.append(socket.create_connection((HOST, listener.port), 1.0))
            for each in held[:-200]:
                each.close()
            del held[:-200]
            time.sleep(0.002)
        for each in held:
            each.close()

    flooding = in_background(flood)
    try:
        for _ in range(100):
            most = max(most, handshakes())
            try:
                with connect(HOST, listener.port, identities[CLIENT], DEALER, 5.0):
                    channel, _ = coming.result(10)
                    channel.close()
                    break
            except ConnectionFailed:
                time.sleep(0.01)
        else:
            pytest.fail("nobody gets through a flood of strangers")
    finally:
        ending.set()
        flooding.result(10)
    assert most <= 2 * arrivals.AT_ONCE


def test_a_frame_that_comes_byte_by_byte_has_its_time(
    identities: dict[Role, Identity], in_background: Background
) -> None:
    """A byte now and then is no progress: the frame as a whole has a deadline."""
    hasty = Settings(timeout_s=0.5, close_timeout_s=0.5)
    with Listener(HOST, 0, identities[DEALER], settings=hasty) as listener:
        coming = in_background(listener.accept, {CLIENT}, 5.0)
        with connect(HOST, listener.port, identities[CLIENT], DEALER, 5.0) as client:
            dealer, _ = coming.result(10)
            waiting = in_background(dealer.receive_data, 1000)
            frame = encode_header(Kind.DATA, 1000, 0) + bytes(1000)
            with contextlib.suppress(OSError):
                for at in range(HEADER_BYTES + 30):
                    client._framing._stream.send_all([memoryview(frame[at : at + 1])], 1.0)
                    time.sleep(0.05 if at > HEADER_BYTES else 0.0)
            with pytest.raises(ConnectionFailed, match="was not complete"):
                waiting.result(5)
            dealer.close()
