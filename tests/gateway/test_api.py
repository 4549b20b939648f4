"""The API over a real deployment: answers equal to the plain model's, and every refusal."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.gateway.running import Gateway

from veilform.gateway import events as events_api
from veilform.gateway import plain as plain_api
from veilform.gateway import running
from veilform.pipeline import PlainClassifier

TEXTS = ["the film was not good", "the film was good"]


@pytest.fixture(scope="module")
def plain(tiny: Path) -> list[dict[str, Any]]:
    return [dict(answer) for answer in PlainClassifier(tiny)(TEXTS)]


def test_classify_gives_what_the_plain_model_gives(
    gateway: Gateway, plain: list[dict[str, Any]]
) -> None:
    answer = gateway.ask("POST", "/classify", {"texts": TEXTS})
    assert answer.status == 200, answer.body
    assert answer.json["model"] == "tiny"
    for found, expected in zip(answer.json["results"], plain, strict=True):
        assert found["label"] == expected["label"]
        assert found["score"] == pytest.approx(expected["score"], abs=0.01)
        assert found["cost"]["messages"] > 0
        assert found["cost"]["bytes_client_to_server"] > 0


def test_one_text_and_a_pair(gateway: Gateway) -> None:
    for body in (
        {"text": TEXTS[0], "model": "tiny", "version": "1", "deadline_s": 30},
        {"text": "the film", "text_pair": "was good"},
        {"texts": [{"text": "the film", "text_pair": "was good"}]},
    ):
        answer = gateway.ask("POST", "/classify", body)
        assert answer.status == 200, answer.body
        assert len(answer.json["results"]) == 1


def test_the_open_inference_protocol(gateway: Gateway, plain: list[dict[str, Any]]) -> None:
    assert gateway.ask("GET", "/v2").json["name"] == "veilform"
    assert gateway.ask("GET", "/v2/health/live").json == {"live": True}
    assert gateway.ask("GET", "/v2/health/ready").json == {"ready": True}
    for path in ("/v2/models/tiny", "/v2/models/tiny/versions/1"):
        described = gateway.ask("GET", path).json
        assert described["versions"] == ["1"]
        assert [one["name"] for one in described["outputs"]] == ["label", "score", "logits"]
        assert gateway.ask("GET", f"{path}/ready").json == {"name": "tiny", "ready": True}
    body = {
        "id": "seven",
        "inputs": [{"name": "text", "shape": [2], "datatype": "BYTES", "data": TEXTS}],
    }
    answer = gateway.ask("POST", "/v2/models/tiny/infer", body)
    assert answer.status == 200, answer.body
    assert answer.json["id"] == "seven"
    outputs = {one["name"]: one for one in answer.json["outputs"]}
    assert outputs["label"]["data"] == [one["label"] for one in plain]
    assert outputs["logits"]["shape"][0] == 2
    assert len(outputs["logits"]["data"]) == np.prod(outputs["logits"]["shape"])


def test_nested_data_and_chosen_outputs(gateway: Gateway) -> None:
    body = {
        "inputs": [
            {"name": "text", "shape": [1, 1], "datatype": "BYTES", "data": [["the film"]]},
            {"name": "text_pair", "shape": [1], "datatype": "BYTES", "data": ["was good"]},
        ],
        "outputs": [{"name": "label"}],
        "parameters": {"deadline_s": 20},
    }
    answer = gateway.ask("POST", "/v2/models/tiny/versions/1/infer", body)
    assert answer.status == 200, answer.body
    assert [one["name"] for one in answer.json["outputs"]] == ["label"]
    assert "id" not in answer.json


def test_a_run_told_as_it_goes(gateway: Gateway) -> None:
    answer = gateway.ask("POST", "/ui/classify", {"text": TEXTS[0]})
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = answer.events()
    names = [name for name, _ in events]
    assert names[0] == "accepted"
    assert names[-1] == "answer"
    assert set(names[1:-1]) == {"progress"}
    steps = [data for name, data in events if name == "progress"]
    last = events[-1][1]
    assert [step["number"] for step in steps] == list(range(1, steps[0]["of"] + 1))
    assert len(steps) == last["cost"]["messages"]
    up = sum(step["size"] + 16 for step in steps if step["sent"])
    assert up == last["cost"]["bytes_client_to_server"]
    assert {len(step["head"]) for step in steps} <= {2 * n for n in range(1, 33)}


def test_a_text_that_cannot_be_used_is_told_before_the_stream(gateway: Gateway) -> None:
    answer = gateway.ask("POST", "/ui/classify", {"text": "film " * 500})
    assert (answer.status, answer.json["code"]) == (400, "bad_input")


INFER = "/v2/models/tiny/infer"
TENSOR = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["the film"]}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/classify", {}, 400),
        ("/classify", {"text": "a", "texts": ["a"]}, 400),
        ("/classify", {"text_pair": "a"}, 400),
        ("/classify", {"text": ""}, 400),
        ("/classify", {"text": " \n"}, 400),
        ("/classify", {"text": 5}, 400),
        ("/classify", {"text": "a", "txet": "a"}, 400),
        ("/classify", {"texts": []}, 400),
        ("/classify", {"texts": ["a"] * 65}, 400),
        ("/classify", {"texts": [["a"]]}, 400),
        ("/classify", {"text": "film " * 500}, 400),
        ("/classify", {"text": "a", "deadline_s": 0}, 400),
        ("/classify", {"text": "a", "deadline_s": 1e9}, 400),
        ("/classify", {"text": "a", "model": "other"}, 404),
        ("/classify", {"text": "a", "version": "2"}, 404),
        ("/classify", b"{", 400),
        ("/classify", b"\xff\xfe", 400),
        ("/classify", b"[" * 100_000, 400),
        ("/classify", b'{"text": "\\ud800"}', 400),
        ("/classify", b"null", 400),
        ("/embed", {"text": "a"}, 400),
        ("/ui/classify", {"texts": ["a", "b"]}, 400),
        (INFER, {"inputs": []}, 400),
        (INFER, {"inputs": [TENSOR, TENSOR]}, 400),
        (INFER, {"inputs": [{**TENSOR, "name": "words"}]}, 400),
        (INFER, {"inputs": [{**TENSOR, "datatype": "FP32"}]}, 400),
        (INFER, {"inputs": [{**TENSOR, "shape": [2]}]}, 400),
        (INFER, {"inputs": [{**TENSOR, "shape": [1, 2]}]}, 400),
        (INFER, {"inputs": [{**TENSOR, "data": [1]}]}, 400),
        (INFER, {"inputs": [TENSOR], "outputs": [{"name": "weights"}]}, 400),
        (INFER, {"inputs": [TENSOR], "parameters": {"deadline_s": "soon"}}, 400),
        ("/v2/models/other/infer", {"inputs": [TENSOR]}, 404),
        ("/v2/models/tiny/versions/9/infer", {"inputs": [TENSOR]}, 404),
    ],
)
def test_what_cannot_be_answered(gateway: Gateway, path: str, body: Any, status: int) -> None:
    answer = gateway.ask("POST", path, body)
    assert answer.status == status, answer.body
    assert answer.json.keys() == {"error", "code"}
    assert answer.headers["content-type"] == "application/json"


def test_a_deadline_that_passes(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    def hurried(*given: Any) -> Any:
        return running.outcomes(*given[:-1], 1e-6)

    def followed(*given: Any) -> Any:
        return running.followed(*given[:-1], 1e-6)

    monkeypatch.setattr(plain_api, "outcomes", hurried)
    monkeypatch.setattr(events_api, "followed", followed)
    answer = gateway.ask("POST", "/classify", {"text": TEXTS[0]})
    assert (answer.status, answer.json["code"]) == (504, "deadline")
    events = gateway.ask("POST", "/ui/classify", {"text": TEXTS[0]}).events()
    assert (events[-1][0], events[-1][1]["code"]) == ("failed", "deadline")


def test_no_text_is_logged_or_repeated(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    secret = "zanzibar"
    caplog.set_level(logging.DEBUG)
    answers = [
        gateway.ask("POST", "/classify", body)
        for body in (
            {"text": f"the {secret} film"},
            {"text": f"{secret} " * 500},
            {"text": "a", secret: "a"},
            {"text": "a", "model": secret},
            {"text": {secret: 1}},
            secret.encode(),
        )
    ]
    answers.append(gateway.ask("GET", f"/v2/models/{secret}"))
    answers.append(gateway.ask("GET", f"/{secret}"))
    infer = {"inputs": [{**TENSOR, "name": secret, "shape": [3]}]}
    answers.append(gateway.ask("POST", INFER, infer))
    assert not [answer.body for answer in answers if secret.encode() in answer.body]
    assert secret not in caplog.text
