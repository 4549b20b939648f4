"""Images through a gateway: an uploaded picture, the Open Inference Protocol, stock kept ready."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.gateway.running import Gateway
from tests.serve.deployment import serving
from tests.vision.small import LABELS, MOBILE, mobile, pixels

from veilform.correlation.store import StockStore
from veilform.gateway import images as images_api
from veilform.gateway.client import GatewayError, GatewayImageClassifier
from veilform.gateway.guard import MOST_BODY_BYTES
from veilform.gateway.opening import levels
from veilform.gateway.served import Catalogue, Served
from veilform.gateway.sessions import ClientSession
from veilform.models import families
from veilform.models.sides import Shape
from veilform.pipeline import PlainImageClassifier
from veilform.roles import CLIENT, Role
from veilform.serve.client import Client
from veilform.serve.depot import Depot
from veilform.serve.pool import Pool
from veilform.settings import GatewaySettings
from veilform.transport import Identity

PNG = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mobile(tmp_path_factory.mktemp("images") / "model")


@pytest.fixture(scope="module")
def gateway(
    folder: Path,
    party_identities: dict[Role, Identity],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Gateway]:
    place = tmp_path_factory.mktemp("gateway")
    with serving(families.server_side(folder), party_identities, place) as deployment:
        side, store = families.client_side(deployment.public), StockStore(place / "stock", CLIENT)

        def connected() -> Client:
            return Client(side, store, deployment.to_server, deployment.to_dealer)

        depot = Depot(connected, {Shape(1, 1): 1})
        pool = Pool(
            lambda: ClientSession(connected()), side.encoder.pad, sessions=1, batches=(1, 2),
            supply=depot,
        )  # fmt: skip
        catalogue = Catalogue([Served("shirts", "1", side, pool, depot)])
        deadline = time.monotonic() + 10
        while not catalogue.all[0].ready:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        running = Gateway(catalogue)
        yield running
        running.close()
        catalogue.close()


def png(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    pytest.importorskip("PIL.Image").fromarray(array.squeeze()).save(out, "PNG")
    return out.getvalue()


def test_an_uploaded_picture(gateway: Gateway, folder: Path, tmp_path: Path) -> None:
    content = png(np.random.default_rng(1).integers(0, 256, (30, 40), dtype=np.uint8))
    expected = PlainImageClassifier(folder)(content)
    asking = GatewayImageClassifier(gateway.url, "shirts", "1", timeout_s=30)
    (tmp_path / "a.png").write_bytes(content)
    for (found,) in (asking([content]), asking([tmp_path / "a.png"])):
        assert found["label"] == expected[0]["label"]
    with pytest.raises(GatewayError, match="is no picture"):
        asking([b"text"])
    for path in ("/classify", "/classify?model=shirts&version=1&deadline_s=30"):
        answer = gateway.ask("POST", path, content, PNG)
        assert answer.status == 200, answer.body
        (found,) = answer.json["results"]
        assert found["label"] == expected[0]["label"]
        assert found["score"] == pytest.approx(expected[0]["score"], abs=5e-3)
        assert len(found["logits"]) == len(LABELS)
        assert found["cost"]["messages"] > 0


def test_tensors_of_the_open_inference_protocol(gateway: Gateway, folder: Path) -> None:
    described = gateway.ask("GET", "/v2/models/shirts").json
    assert described["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 12, 12, 1]}]
    arrays = pixels(MOBILE, 2)
    encoded = families.clear(folder).encoder.encode(arrays)
    expected = [row[0]["label"] for row in PlainImageClassifier(folder)(arrays)]
    for kind, given in (("UINT8", arrays), ("FP32", encoded)):
        stacked = np.stack(given)
        tensor = {"name": "image", "datatype": kind, "shape": stacked.shape,
                  "data": stacked.ravel().tolist()}  # fmt: skip
        answer = gateway.ask("POST", "/v2/models/shirts/infer", {"inputs": [tensor], "id": "x"})
        assert answer.status == 200, answer.body
        outputs = {one["name"]: one for one in answer.json["outputs"]}
        assert outputs["label"]["data"] == expected
        assert outputs["logits"]["shape"] == [2, 3]
    one = {"name": "image", "datatype": "UINT8", "shape": [12, 12, 1],
           "data": arrays[0].ravel().tolist()}  # fmt: skip
    body = {"inputs": [one], "outputs": [{"name": "label"}]}
    answer = gateway.ask("POST", "/v2/models/shirts/infer", body)
    assert [output["data"] for output in answer.json["outputs"]] == [expected[:1]]


@pytest.mark.parametrize(
    ("tensor", "why"),
    [
        ({"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]}, "does not fit"),
        ({"datatype": "INT8"}, "UINT8 or FP32"),
        ({"name": "picture"}, "the input is 'image'"),
        ({"shape": [2, 12, 12, 1]}, "so many numbers, flat"),
        ({"shape": [1, 1, 12, 12, 1]}, "does not fit"),
        ({"shape": [1 << 14, 1 << 14, 1 << 14, 1 << 14]}, "so many numbers, flat"),
        ({"shape": [12, 12, -1]}, "does not fit"),
        ({"data": [256.0] * 144}, "from 0 to 255"),
        ({"data": [0.5] * 144}, "from 0 to 255"),
        ({"data": [[1] * 12] * 12}, "does not fit"),
        ({"shape": [12, 6, 2]}, "takes H x W x 1"),
        ({"datatype": "FP32", "data": [99.0] * 144}, r"beyond \+-2"),
        ({"datatype": "FP32", "shape": [6, 24, 1]}, "the model takes 12 x 12 x 1"),
    ],
)
def test_tensors_that_are_refused(gateway: Gateway, tensor: dict[str, object], why: str) -> None:
    whole = {"name": "image", "datatype": "UINT8", "shape": [12, 12, 1], "data": [7] * 144}
    answer = gateway.ask("POST", "/v2/models/shirts/infer", {"inputs": [{**whole, **tensor}]})
    assert answer.status == 400, answer.body
    assert pytest.importorskip("re").search(why, answer.json["error"]), answer.json


def test_uploads_that_are_refused(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("PIL")
    content = png(np.random.default_rng(1).integers(0, 256, (12, 12), dtype=np.uint8))
    for path, body, headers, status, why in (
        ("/classify", b"GIF89a", PNG, 400, "is no picture of a format"),
        ("/classify", content[: len(content) // 2], PNG, 400, "damaged or cut off"),
        ("/classify?model=none", content, PNG, 404, "no such model"),
        ("/classify?deadline_s=never", content, PNG, 400, "deadline_s is from"),
        ("/classify?deadline_s=1e9", content, PNG, 400, "deadline_s is from"),
        ("/embed", content, PNG, 415, "application/json"),
        ("/classify", {"text": "/etc/hostname"}, {}, 400, "send a picture"),
        ("/ui/classify", {"text": "/etc/hostname"}, {}, 400, "image-classification"),
    ):
        answer = gateway.ask("POST", path, body, headers)
        assert answer.status == status, answer.body
        assert why in answer.json["error"]
    larger = bytes(MOST_BODY_BYTES + 1)
    assert gateway.ask("POST", "/classify", larger, PNG).status == 400
    # It is refused by its length, before it is sent.
    announced = {"Content-Type": "application/json", "Content-Length": str(len(larger))}
    assert gateway.ask("POST", "/classify", b"", announced).status == 413
    monkeypatch.setattr(images_api, "MOST_IMAGE_BYTES", 100)
    answer = gateway.ask("POST", "/classify", content, PNG)
    assert (answer.status, answer.json["code"]) == (413, "too_large")


def test_a_text_model_gets_no_picture(catalogue: Catalogue) -> None:
    texts = Gateway(catalogue)
    try:
        answer = texts.ask("POST", "/classify", png(np.zeros((12, 12), np.uint8)), PNG)
        assert (answer.status, answer.json["code"]) == (400, "task")
    finally:
        texts.close()


def test_stock_is_kept_for_images(gateway: Gateway) -> None:
    served = gateway.catalogue.all[0]
    settings = GatewaySettings(
        certificates=Path("c"), server="s:1", dealer="d:1", stock=Path("k"), model=(), ready=3
    )
    assert levels(settings, served.side) == {Shape(1, 1): 3}
    (described,) = gateway.ask("GET", "/models").json["models"]
    assert described["task"] == "image-classification"
    assert described["labels"] == list(LABELS)
    assert described["lengths"] == [1]
    assert described["takes"] == "images of 12 x 12 x 1"
