"""Who gets in and who does not, over real TCP on 127.0.0.1."""

from __future__ import annotations

import datetime as dt
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from veilform.errors import AuthenticationError, ConnectionFailed, InputError
from veilform.roles import CLIENT, DEALER, SERVER, Role
from veilform.transport import (
    Channel,
    Identity,
    Listener,
    Settings,
    connect,
    create_deployment,
)
from veilform.transport.handshake import tls_context

Background = Callable[..., Future[Any]]
Identities = dict[Role, Identity]
HOST = "127.0.0.1"
QUICK = Settings(timeout_s=5.0, close_timeout_s=1.0)


def unchecked(directory: Path, role: Role) -> Identity:
    """An identity as an attacker would use it: without `Identity.load`'s checks."""
    folder = directory / role.value
    return Identity(role, folder / "ca.pem", folder / "certificate.pem", folder / "key.pem")


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("foreign") / "deployment"
    create_deployment(directory)
    return directory


@pytest.fixture
def listener(identities: Identities) -> Iterator[Listener]:
    with Listener(HOST, 0, identities[DEALER], handshake_timeout_s=2.0, settings=QUICK) as each:
        yield each


def dial(listener: Listener, identity: Identity, expect: Role = DEALER) -> Channel:
    return connect(HOST, listener.port, identity, expect, 5.0, settings=QUICK)


def still_works(listener: Listener, identities: Identities, in_background: Background) -> bool:
    """The next honest party gets in."""
    coming = in_background(listener.accept, {CLIENT, SERVER}, 5.0)
    with dial(listener, identities[SERVER]) as here:
        channel, role = coming.result(10)
        with channel:
            here.send_data([b"hello"])
            return role is SERVER and channel.receive_data(5) == b"hello"


def refused_by_both(
    listener: Listener, identity: Identity, expect: Role, in_background: Background
) -> tuple[str, str]:
    """What the connecting and the accepting side say."""
    coming = in_background(listener.accept, {CLIENT, SERVER}, 5.0)
    with pytest.raises(ConnectionFailed) as there:
        dial(listener, identity, expect)
    with pytest.raises(ConnectionFailed) as here:
        coming.result(10)
    for error in (there.value, here.value):
        assert "\n" not in str(error)
    return str(there.value), str(here.value)


def test_tls_1_3_without_resumption(
    listener: Listener, identities: Identities, in_background: Background
) -> None:
    coming = in_background(listener.accept, {CLIENT}, 5.0)
    context = tls_context(identities[CLIENT], listening=False)
    with (
        socket.create_connection((HOST, listener.port), 5.0) as plain,
        context.wrap_socket(plain, server_hostname="dealer.veilform.internal") as raw,
    ):
        channel, role = coming.result(10)
        assert role is CLIENT
        assert channel.peer is CLIENT
        assert raw.version() == "TLSv1.3"
        assert raw.recv(16)[:2] == b"\x01\x01"  # the greeting
        assert raw.session is None or not raw.session.has_ticket
    channel.close()


def test_no_context_knows_another_authority(identities: Identities) -> None:
    for listening in (True, False):
        context = tls_context(identities[SERVER], listening)
        assert [each["subject"] for each in context.get_ca_certs()] == [
            ((("commonName", "Veilform deployment"),),)
        ]


def test_a_foreign_client(
    listener: Listener, foreign: Path, identities: Identities, in_background: Background
) -> None:
    """Its certificate is of another deployment, though it trusts ours."""
    mixed = Identity(
        CLIENT,
        identities[CLIENT].authority,
        foreign / "client/certificate.pem",
        foreign / "client/key.pem",
    )
    there, here = refused_by_both(listener, mixed, DEALER, in_background)
    assert "it refused this side's certificate" in there
    assert "its certificate is foreign: use certificates of the same deployment" in here
    assert still_works(listener, identities, in_background)


def test_a_foreign_server(
    listener: Listener, foreign: Path, identities: Identities, in_background: Background
) -> None:
    there, here = refused_by_both(listener, unchecked(foreign, CLIENT), DEALER, in_background)
    assert "its certificate is foreign" in there
    assert "it refused this side's certificate as foreign" in here
    assert still_works(listener, identities, in_background)


def test_an_expired_client(tmp_path: Path, in_background: Background) -> None:
    """Both sides hold an expired deployment; the listening side notices the other's."""
    start = dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=9)
    create_deployment(tmp_path / "old", days=5, start=start)
    with Listener(HOST, 0, unchecked(tmp_path / "old", DEALER), settings=QUICK) as listener:
        client = unchecked(tmp_path / "old", CLIENT)
        there, here = refused_by_both(listener, client, DEALER, in_background)
        assert "has expired: create the deployment's certificates again" in there
        assert "as expired" in here
        coming = in_background(listener.accept, {CLIENT}, 5.0)
        context = tls_context(client, listening=False)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with (
            closing(socket.create_connection((HOST, listener.port), 5.0)) as plain,
            suppress(OSError),
            context.wrap_socket(plain) as raw,
        ):
            raw.recv(1)
        with pytest.raises(AuthenticationError, match="its certificate has expired"):
            coming.result(10)


def test_a_server_in_the_dealers_place(
    listener: Listener, identities: Identities, in_background: Background
) -> None:
    there, _ = refused_by_both(listener, identities[CLIENT], SERVER, in_background)
    assert f"the server at {HOST}:{listener.port} was refused: its certificate is another" in there
    assert still_works(listener, identities, in_background)


def test_a_role_that_is_not_expected_here(
    listener: Listener, identities: Identities, in_background: Background
) -> None:
    coming = in_background(listener.accept, {CLIENT}, 5.0)
    with pytest.raises(AuthenticationError, match="does not talk to the server here"):
        dial(listener, identities[SERVER])
    with pytest.raises(AuthenticationError, match="the server was refused: it is not expected"):
        coming.result(10)
    assert still_works(listener, identities, in_background)


def test_a_client_certificate_cannot_serve(
    identities: Identities, in_background: Background
) -> None:
    with pytest.raises(InputError, match="never listens"):
        Listener(HOST, 0, identities[CLIENT])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identities[CLIENT].certificate, identities[CLIENT].key)
    with socket.create_server((HOST, 0)) as server:

        def serve() -> None:
            plain, _ = server.accept()
            with plain, suppress(OSError):
                context.wrap_socket(plain, server_side=True).close()

        serving = in_background(serve)
        with pytest.raises(AuthenticationError, match="may not act in this role"):
            connect(HOST, server.getsockname()[1], identities[SERVER], CLIENT, 5.0)
        serving.result(10)


def test_a_client_without_a_certificate(
    listener: Listener, identities: Identities, in_background: Background
) -> None:
    coming = in_background(listener.accept, {CLIENT}, 5.0)
    context = ssl.create_default_context(cafile=identities[CLIENT].authority)
    with (
        socket.create_connection((HOST, listener.port), 5.0) as plain,
        context.wrap_socket(plain, server_hostname="dealer.veilform.internal") as raw,
        pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"),
    ):
        raw.recv(1)
    with pytest.raises(AuthenticationError, match="it showed no certificate"):
        coming.result(10)
    assert still_works(listener, identities, in_background)


def test_a_client_of_tls_1_2(
    listener: Listener, identities: Identities, in_background: Background
) -> None:
    coming = in_background(listener.accept, {CLIENT}, 5.0)
    context = ssl.create_default_context(cafile=identities[CLIENT].authority)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection((HOST, listener.port), 5.0) as plain,
        pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"),
    ):
        context.wrap_socket(plain, server_hostname="dealer.veilform.internal")
    with pytest.raises(ConnectionFailed, match=r"it does not offer TLS 1\.3"):
        coming.result(10)
    assert still_works(listener, identities, in_background)


@pytest.mark.parametrize("first_words", [b"GET / HTTP/1.1\r\n\r\n", b"hello, I am plain text\n"])
def test_a_plain_text_client(
    listener: Listener, identities: Identities, in_background: Background, first_words: bytes
) -> None:
    coming = in_background(listener.accept, {CLIENT}, 5.0)
    with socket.create_connection((HOST, listener.port), 5.0) as plain:
        plain.sendall(first_words)
        with pytest.raises(ConnectionFailed, match="it does not speak TLS"):
            coming.result(10)
    assert still_works(listener, identities, in_background)


def test_a_probe_that_says_nothing_is_passed_over(
    listener: Listener, identities: Identities, in_background: Background
) -> None:
    coming = in_background(listener.accept, {CLIENT}, 1.0)
    for _ in range(20):  # more than there are places for handshakes
        socket.create_connection((HOST, listener.port), 5.0).close()
        time.sleep(0.01)
    with pytest.raises(ConnectionFailed, match="nobody connected"):
        coming.result(5)
    assert still_works(listener, identities, in_background)


def test_a_port_that_is_not_open_yet(identities: Identities) -> None:
    """A probe fails until a party is ready, and the port is taken all the same."""
    with Listener(HOST, 0, identities[SERVER], opened=False) as waiting:
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((HOST, waiting.port), 5.0)
        waiting.open()
        socket.create_connection((HOST, waiting.port), 5.0).close()
        with pytest.raises(ConnectionFailed, match="address already in use"):
            Listener(HOST, waiting.port, identities[SERVER])


def test_a_stranger_who_hangs_up(
    listener: Listener, identities: Identities, in_background: Background
) -> None:
    coming = in_background(listener.accept, {CLIENT}, 5.0)
    with socket.create_connection((HOST, listener.port), 5.0) as plain:
        plain.sendall(b"\x16\x03\x01")  # a record begins
    with pytest.raises(ConnectionFailed, match="handshake"):
        coming.result(10)
    assert still_works(listener, identities, in_background)


def test_silent_strangers_keep_nobody_waiting(
    identities: Identities, in_background: Background
) -> None:
    with Listener(HOST, 0, identities[DEALER], handshake_timeout_s=60.0) as listener:
        strangers = [socket.create_connection((HOST, listener.port)) for _ in range(5)]
        start = time.monotonic()
        assert still_works(listener, identities, in_background)
        assert time.monotonic() - start < 5.0
    for each in strangers:
        each.close()


def test_handshakes_at_once_are_bounded(listener: Listener, in_background: Background) -> None:
    strangers = [socket.create_connection((HOST, listener.port)) for _ in range(40)]
    coming = in_background(listener.accept, {CLIENT}, 10.0)
    with pytest.raises(ConnectionFailed, match="did not complete the handshake in time"):
        coming.result(20)
    running = [each for each in threading.enumerate() if each.name == "veilform-handshake"]
    assert len(running) <= 16
    for each in strangers:
        each.close()


def test_a_server_that_is_plain_or_silent(identities: Identities) -> None:
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            plain, _ = server.accept()
            with plain:
                plain.sendall(b"220 mail server ready\r\n")
                plain.recv(2**16)

        answering = threading.Thread(target=answer)
        answering.start()
        with pytest.raises(ConnectionFailed, match="it does not speak TLS"):
            connect(HOST, port, identities[CLIENT], DEALER, 5.0)
        answering.join()
        with pytest.raises(ConnectionFailed, match="did not complete the handshake in time"):
            connect(HOST, port, identities[CLIENT], DEALER, 0.1)


def test_nobody_listens(identities: Identities) -> None:
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
    says = (
        f"cannot reach the dealer at {HOST}:{port}: connection refused; "
        "start it with `veilform deal`, or check the address"
    )
    with pytest.raises(ConnectionFailed) as caught:
        connect(HOST, port, identities[CLIENT], DEALER, 5.0)
    assert str(caught.value) == says


def test_an_impossible_host(identities: Identities) -> None:
    with pytest.raises(ConnectionFailed, match=r"cannot reach the dealer at no\.\.host:1: "):
        connect("no..host", 1, identities[CLIENT], DEALER, 5.0)


def test_a_port_in_use(listener: Listener, identities: Identities) -> None:
    with pytest.raises(
        ConnectionFailed, match=f"{HOST}:{listener.port}: address already in use; stop"
    ):
        Listener(HOST, listener.port, identities[SERVER])


@pytest.mark.parametrize("port", [-1, 65536])
def test_an_impossible_port(identities: Identities, port: int) -> None:
    with pytest.raises(InputError, match=r"cannot listen .* a port is a number below 65536"):
        Listener(HOST, port, identities[SERVER])
    with pytest.raises(ConnectionFailed, match="cannot reach"):
        connect(HOST, port, identities[CLIENT], SERVER, 1.0)


def test_an_unusable_key(deployment: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(deployment, tmp_path / "copy"))
    (copy / "client/key.pem").write_text("nothing")
    with pytest.raises(InputError, match="cannot be used"):
        tls_context(unchecked(copy, CLIENT), listening=False)


def test_accept_has_a_deadline(listener: Listener) -> None:
    with pytest.raises(ConnectionFailed, match=r"nobody connected within 0\.05 s"):
        listener.accept({CLIENT}, 0.05)


def test_closing_wakes_who_accepts(identities: Identities, in_background: Background) -> None:
    listener = Listener(HOST, 0, identities[SERVER])
    coming = in_background(listener.accept, {CLIENT})
    listener.close()
    listener.close()
    with pytest.raises(ConnectionFailed, match="the listener is closed"):
        coming.result(10)
    assert "127.0.0.1" in repr(listener)


def test_a_peer_that_dies_within_a_frame(
    listener: Listener, identities: Identities, in_background: Background
) -> None:
    """Its process is gone: the system closes the socket, no goodbye, no end of TLS."""
    coming = in_background(listener.accept, {CLIENT}, 5.0)
    context = tls_context(identities[CLIENT], listening=False)
    with socket.create_connection((HOST, listener.port), 5.0) as plain:
        raw = context.wrap_socket(plain, server_hostname="dealer.veilform.internal")
        channel, _ = coming.result(10)
        raw.sendall(bytes.fromhex("01020000 e8030000 00000000 00000000") + bytes(500))
        waiting = in_background(channel.receive_data, 1000)
        socket.socket(fileno=raw.detach()).close()
    with pytest.raises(ConnectionFailed, match=r"in the middle of a frame|lost the client"):
        waiting.result(10)
    with suppress(ConnectionFailed):
        channel.send_data([bytes(10)])
    channel.close()


def test_a_forged_record_ends_the_connection(
    listener: Listener, identities: Identities, in_background: Background
) -> None:
    coming = in_background(listener.accept, {CLIENT}, 5.0)
    context = tls_context(identities[CLIENT], listening=False)
    with socket.create_connection((HOST, listener.port), 5.0) as plain:
        raw = context.wrap_socket(plain, server_hostname="dealer.veilform.internal")
        channel, _ = coming.result(10)
        below = socket.socket(fileno=raw.detach())
        below.sendall(bytes.fromhex("1703030020") + bytes(32))
        with pytest.raises(ConnectionFailed, match="lost the client"):
            channel.receive_data(1000)
        below.close()
    channel.close()


def test_close_is_quick_when_the_peer_reads_nothing(
    identities: Identities, in_background: Background
) -> None:
    limits = Settings(timeout_s=60.0, close_timeout_s=0.2)
    with Listener(HOST, 0, identities[DEALER], settings=limits) as listener:
        coming = in_background(listener.accept, {CLIENT}, 5.0)
        client = connect(HOST, listener.port, identities[CLIENT], DEALER, 5.0, settings=limits)
        dealer, _ = coming.result(10)
        dealer.send_data([bytes(2**26)])  # more than the system buffers
        start = time.monotonic()
        dealer.close()
        assert time.monotonic() - start < 5.0
        with pytest.raises(ConnectionFailed):
            client.receive_data(2**26)
        client.close()


def test_closing_from_another_thread_wakes_a_receiver(
    tls_pair: tuple[Channel, Channel], in_background: Background
) -> None:
    client, server = tls_pair
    waiting = in_background(client.receive_data, 10)
    client.close()
    with pytest.raises(ConnectionFailed):
        waiting.result(5)
    server.close()


def test_closing_the_listener_ends_handshakes_under_way(
    identities: Identities, in_background: Background
) -> None:
    listener = Listener(HOST, 0, identities[DEALER], handshake_timeout_s=60.0)
    with socket.create_connection((HOST, listener.port)) as stranger:
        stranger.sendall(b"\x16\x03\x01")  # the beginning of a handshake
        with pytest.raises(ConnectionFailed, match="nobody connected"):
            listener.accept({CLIENT}, 0.1)
        start = time.monotonic()
        listener.close()
        assert time.monotonic() - start < 10.0
