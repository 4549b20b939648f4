"""What strangers' pages, careless programs and slow peers send."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from tests.gateway.running import Gateway

from veilform.gateway import bodies, listening
from veilform.gateway.guard import MOST_BODY_BYTES
from veilform.gateway.served import Catalogue

BODY = {"text": "the film was good"}
TOKEN = "0123456789abcdef"


def raw(gateway: Gateway, request: bytes, wait_s: float = 10.0) -> bytes:
    """Sends bytes as they are, and reads until the gateway closes."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=wait_s) as peer:
        peer.sendall(request)
        found = b""
        while got := peer.recv(1 << 16):
            found += got
    return found


@pytest.mark.parametrize(
    "host", ["attacker.example", "127.0.0.1.attacker.example:80", "", "[::2]", "127.0.0.2"]
)
def test_another_name_for_this_machine_is_refused(gateway: Gateway, host: str) -> None:
    """DNS rebinding: the attacker's name resolves to 127.0.0.1."""
    for method, path in (("GET", "/"), ("GET", "/models"), ("POST", "/classify")):
        answer = gateway.ask(method, path, BODY if method == "POST" else None, {"Host": host})
        assert (answer.status, answer.json["code"]) == (421, "host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "[::1]:8080"])
def test_our_own_names(gateway: Gateway, host: str) -> None:
    assert gateway.ask("GET", "/models", headers={"Host": host}).status == 200


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://attacker.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}],
)
def test_another_sites_page_is_refused(gateway: Gateway, headers: dict[str, str]) -> None:
    answer = gateway.ask("POST", "/classify", BODY, headers)
    assert (answer.status, answer.json["code"]) == (403, "origin")
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_preflight_allows_nothing(gateway: Gateway) -> None:
    answer = gateway.ask("OPTIONS", "/classify", headers={"Access-Control-Request-Method": "POST"})
    assert answer.status == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_what_a_form_can_send_is_refused(gateway: Gateway, kind: str) -> None:
    answer = gateway.ask("POST", "/classify", json.dumps(BODY).encode(), {"Content-Type": kind})
    assert (answer.status, answer.json["code"]) == (415, "content_type")


def test_every_answer_carries_the_headers(gateway: Gateway) -> None:
    for path in ("/", "/page.js", "/models", "/nothing"):
        headers = gateway.ask("GET", path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers


def test_a_huge_body_is_refused_unread(gateway: Gateway) -> None:
    head = b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    announced = raw(gateway, head + b"Content-Length: 99999999999\r\n\r\n{")
    assert b" 413 " in announced.split(b"\r\n")[0]
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as peer:
        peer.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(2 * MOST_BODY_BYTES // 65536):
                peer.sendall(chunk)
        except OSError:
            pass  # it hung up, as it should
        else:
            assert b" 413 " in peer.recv(1 << 16).split(b"\r\n")[0]


def test_a_slow_body_is_not_waited_for(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_S", 0.2)
    found = raw(
        gateway,
        b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 100\r\n\r\n{",
    )
    assert b" 408 " in found.split(b"\r\n")[0]


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HT", b"GET /models HTTP/1.1\r\nHost: localhost\r\n\r\nGET"]
)
def test_a_slow_head_is_not_waited_for(
    gateway: Gateway, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "HEAD_S", 0.2)
    assert raw(gateway, sent).startswith(b"HTTP/1.1 200" if b"models" in sent else b"")


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /../../etc/passwd",
        b"GET /page.css/../../pyproject.toml",
        b"GET /%2e%2e/%2e%2e/etc/passwd",
        b"GET /page/page.html",
        b"GET /v2/models/..%2f..%2fetc",
        b"GET /v2/models/tiny%00",
        b"GET //v2",
        b"GET /classify/",
        b"GET /page.css%00.html",
    ],
)
def test_path_tricks_find_nothing(gateway: Gateway, request_line: bytes) -> None:
    found = raw(
        gateway, request_line + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    assert b" 404 " in found.split(b"\r\n")[0], found


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
        b"Content-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * (1 << 20) + b"\r\n\r\n",
    ],
)
def test_what_is_no_http_gets_no_answer_but_a_refusal(
    gateway: Gateway, request_bytes: bytes
) -> None:
    try:
        found = raw(gateway, request_bytes)
    except ConnectionError:
        return
    assert found.split(b" ")[1].startswith(b"4"), found[:100]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_other_methods(gateway: Gateway, method: str) -> None:
    answer = gateway.ask(method, "/classify")
    assert (answer.status, answer.json["code"]) == (405, "method")
    assert answer.headers["allow"] == "POST"


def test_who_leaves_does_not_harm_who_stays(gateway: Gateway, catalogue: Catalogue) -> None:
    def leave() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
        connection.request(
            "POST", "/classify", json.dumps(BODY), {"Content-Type": "application/json"}
        )
        connection.close()

    leaving = [threading.Thread(target=leave) for _ in range(8)]
    for thread in leaving:
        thread.start()
    for thread in leaving:
        thread.join()
    assert gateway.ask("POST", "/classify", BODY).status == 200
    end = time.monotonic() + 10
    while catalogue.all[0].pool.state[2:] != (0, 0):
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def guarded(catalogue: Catalogue) -> Iterator[Gateway]:
    running = Gateway(catalogue, token=TOKEN)
    yield running
    running.close()


@pytest.mark.parametrize("given", [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}"])
def test_without_the_token_there_is_no_answer(guarded: Gateway, given: str | None) -> None:
    headers = {} if given is None else {"Authorization": given}
    for method, path in (("POST", "/classify"), ("GET", "/models"), ("POST", "/ui/classify")):
        answer = guarded.ask(method, path, BODY if method == "POST" else None, headers)
        assert (answer.status, answer.json["code"]) == (401, "token")
        assert answer.headers["www-authenticate"] == "Bearer"


def test_with_the_token(guarded: Gateway) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert guarded.ask("POST", "/classify", BODY, headers).status == 200
    for path in ("/", "/page.js", "/v2/health/live"):
        assert guarded.ask("GET", path).status == 200
