from __future__ import annotations

import http.server
import threading
import time
from pathlib import Path

import pytest
from tests.gateway.running import Gateway

from veilform.gateway import client
from veilform.gateway.client import GatewayClassifier, GatewayEmbedder, GatewayError
from veilform.pipeline import PlainClassifier

TEXTS = ["the film was not good", "the film was good", "a film"]


def test_answers_as_the_pipelines_give_them(
    gateway: Gateway, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "AT_ONCE", 2)
    classify = GatewayClassifier(gateway.url, "tiny", "1")
    found, expected = classify(TEXTS), PlainClassifier(tiny)(TEXTS)
    assert [one["label"] for one in found] == [one["label"] for one in expected]
    assert [one["score"] for one in found] == pytest.approx(
        [one["score"] for one in expected], abs=0.01
    )
    assert classify(TEXTS[0])[0].keys() == {"label", "score"}
    assert len(classify({"text": "the film", "text_pair": "was good"})) == 1
    assert classify([]) == []


def test_refusals(gateway: Gateway) -> None:
    with pytest.raises(GatewayError, match="no such model") as refused:
        GatewayClassifier(gateway.url, "other")(TEXTS)
    assert (refused.value.status, refused.value.code) == (404, "not_found")
    with pytest.raises(GatewayError, match="is for text-classification"):
        GatewayEmbedder(gateway.url)(TEXTS)
    with pytest.raises(ValueError, match="http"):
        GatewayClassifier("127.0.0.1:8080")


class Late(http.server.BaseHTTPRequestHandler):
    """Says that the deadline is over a little after it is."""

    def do_POST(self) -> None:
        time.sleep(0.5)
        body = b'{"error": "too late", "code": "deadline"}'
        self.send_response(504)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def test_a_deadline_is_told_by_the_gateway() -> None:
    """Who hangs up at that very moment learns only that nobody answered."""
    with http.server.HTTPServer(("127.0.0.1", 0), Late) as late:
        answering = threading.Thread(target=late.handle_request)
        answering.start()
        with pytest.raises(GatewayError, match="too late") as refused:
            GatewayClassifier(f"http://127.0.0.1:{late.server_port}", timeout_s=0.3)(TEXTS)
        answering.join(10)
    assert refused.value.code == "deadline"


def test_nobody_there() -> None:
    with pytest.raises(GatewayError) as refused:
        GatewayClassifier("http://127.0.0.1:9", timeout_s=2)(TEXTS)
    assert (refused.value.status, refused.value.code) == (0, "unreachable")
