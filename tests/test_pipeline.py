"""The pipeline, private beside plain, over three real processes."""

from __future__ import annotations

import gc
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from tests.checkpoints import TEXTS
from tests.families import PAIRS, make_family
from tests.serve.deployment import is_running

from veilform.errors import InputError, ModelError, RangeError, VeilformError
from veilform.models.bert.config import BertConfig
from veilform.models.bert.sides import ServerSide, Shape
from veilform.models.text import TextEncoder, bucket
from veilform.pipeline import SecureClassifier, pipeline
from veilform.plan.cost import Report
from veilform.roles import CLIENT, SERVER


def children(classifier: SecureClassifier) -> list[int]:
    service = classifier._finish.peek()[2][1]  # type: ignore[index]
    return [child.pid for child in service._children]


@pytest.mark.parametrize("private_embedding", [False, True])
def test_private_answers_are_the_plain_ones(tiny: Path, private_embedding: bool) -> None:
    plain = pipeline(model=tiny, mode="plain")(list(TEXTS))
    side = ServerSide(tiny, private_embedding)
    with pipeline(model=tiny, private_embedding=private_embedding) as classifier:
        assert isinstance(classifier, SecureClassifier)
        assert classifier.last_cost is None
        pids = children(classifier)
        assert len({*pids}) == 2
        for text, expected in zip(TEXTS, plain, strict=True):
            (answer,) = classifier(text)
            assert answer["label"] == expected["label"]
            assert answer["score"] == pytest.approx(expected["score"], abs=1e-2)
            cost = classifier.last_cost
            assert cost is not None
            length = next(n for n in (16, 32) if n >= len(side_ids(classifier, text)))
            report = Report(side.trace(Shape(1, length)))
            assert cost.bytes_client_to_server == report.up_bytes
            assert cost.bytes_server_to_client == report.down_bytes
            assert cost.messages == report.trace.messages
            manifest = side.manifest(Shape(1, length), "0" * 32)
            dealt = manifest.dealt_bytes(CLIENT) + manifest.dealt_bytes(SERVER)
            assert cost.offline_bytes == dealt + manifest.correction_bytes
            assert cost.online_seconds > 0
            assert cost.offline_seconds > 0
    assert not any(map(is_running, pids))


def side_ids(classifier: SecureClassifier, text: str) -> list[int]:
    (ids,) = classifier._client.side.public.encoder.encode([text])
    return ids


def test_out_of_range_is_an_error_and_no_answer(narrow_tiny: Path) -> None:
    with pipeline(model=narrow_tiny) as classifier, pytest.raises(RangeError, match="no answer"):
        classifier("a good film")
    plain = pipeline(model=narrow_tiny, mode="plain")
    assert plain.last_cost is None
    plain("a good film")


def test_a_forgotten_classifier_ends_its_service(tiny: Path) -> None:
    classifier = pipeline(model=tiny)
    assert isinstance(classifier, SecureClassifier)
    pids = children(classifier)
    del classifier
    gc.collect()
    assert not any(map(is_running, pids))


def test_bad_texts_and_a_closed_classifier(tiny: Path) -> None:
    """Bad texts are refused before anything is sent, and harm nothing."""
    classifier = pipeline(model=tiny)
    assert isinstance(classifier, SecureClassifier)
    client = classifier._client
    before = client._server.counters.snapshot()
    for texts in ([], "", "   ", ["good", ""], "good " * 40, "\udcff", ["good", 5]):
        with pytest.raises(InputError):
            classifier(texts)  # type: ignore[arg-type]
    moved = client._server.counters.snapshot() - before
    assert moved == before - before
    assert classifier(["good", "bad"])[0]["label"] in ("NEGATIVE", "POSITIVE")
    classifier.close()
    classifier.close()
    with pytest.raises(VeilformError):
        classifier("good")


def test_arguments_that_cannot_be_used(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="task 'translation' is not known"):
        pipeline("translation", tiny)  # type: ignore[call-overload]
    for mode in ("plain", "secure"):
        with pytest.raises(ModelError, match="is for the task 'text-classification'"):
            pipeline("feature-extraction", tiny, mode=mode)
    with pytest.raises(InputError, match="mode is 'secure' or 'plain'"):
        pipeline(model=tiny, mode="public")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="all of server, dealer, certificates and stock"):
        pipeline(model=tiny, server="127.0.0.1:7001")
    with pytest.raises(ModelError):
        pipeline(model=tmp_path)
    with pytest.raises(InputError, match="is no host:port"):
        pipeline(model=tiny, server="x", dealer="y", certificates=tmp_path, stock=tmp_path)


def test_a_text_without_an_answer_does_not_end_the_list(tiny: Path) -> None:
    """The server must not see, by the runs that follow or do not, what the client learned."""
    runs = 0

    class Client:
        side = SimpleNamespace(
            encoder=TextEncoder.from_folder(tiny),
            config=BertConfig.read(tiny),
        )

        def infer(self, batch: object) -> tuple[np.ndarray, None]:
            nonlocal runs
            runs += 1
            if runs == 2:
                raise RangeError("a value left the range")
            return np.array([[0.0, 1.0]]), None

        def close(self) -> None:
            """Nothing is open."""

    classifier = SecureClassifier(cast(Any, Client()))
    with classifier, pytest.raises(RangeError, match="text 2: a value left the range"):
        classifier(["good", "bad", "dull"])
    assert runs == 3


def test_sentence_vectors(tmp_path: Path) -> None:
    folder = make_family(
        tmp_path, "roberta", "Model", calibrated=True, num_hidden_layers=1,
        max_position_embeddings=64,
    )  # fmt: skip
    plain = pipeline("feature-extraction", folder, mode="plain")
    expected = plain(list(TEXTS[:2]))
    with pipeline("feature-extraction", folder) as embedder:
        vectors = embedder(list(TEXTS[:2]))
        cost = embedder.last_cost
        assert cost is not None
        (ids,) = TextEncoder.from_folder(folder).encode(TEXTS[1:2])
        report = Report(ServerSide(folder).trace(Shape(1, bucket(len(ids)))))
        assert cost.bytes_client_to_server == report.up_bytes
        assert cost.bytes_server_to_client == report.down_bytes
    for ours, theirs in zip(vectors, expected, strict=True):
        assert ours.shape == (16,)
        assert np.linalg.norm(ours - theirs) < 1e-2 * np.linalg.norm(theirs)
    with pytest.raises(ModelError, match="is for the task 'feature-extraction'"):
        pipeline(model=folder)


@pytest.mark.parametrize("private_embedding", [False, True])
def test_a_regression_of_pairs(tmp_path: Path, private_embedding: bool) -> None:
    settings = {"problem_type": "regression", "id2label": {"0": "SIMILARITY"}}
    folder = make_family(tmp_path, "bert", calibrated=True, num_hidden_layers=1, **settings)
    pairs = [{"text": first, "text_pair": second} for first, second in PAIRS]
    expected = pipeline(model=folder, mode="plain")(pairs)
    swapped = {"text": pairs[0]["text_pair"], "text_pair": pairs[0]["text"]}
    assert pipeline(model=folder, mode="plain")(swapped) != expected[:1]
    with pipeline(model=folder, private_embedding=private_embedding) as scorer:
        for pair, plain in zip(pairs, expected, strict=True):
            (answer,) = scorer(pair)
            assert answer["label"] == "SIMILARITY"
            assert answer["score"] == pytest.approx(plain["score"], abs=2e-2)
        (alone,) = scorer({"text": "a good film"})
        assert [alone] != scorer(pairs[0])


@pytest.mark.parametrize(
    "given",
    [{}, {"text_pair": "a"}, {"text": "a", "pair": "b"}, {"text": "a", "text_pair": ""},
     {"text": "a", "text_pair": None}, {"text": "a", "text_pair": "\x00"}, [("a", "b", "c")]],
)  # fmt: skip
def test_pairs_that_are_none(tiny: Path, given: Any) -> None:
    with pytest.raises(InputError, match="text 1"):
        pipeline(model=tiny, mode="plain")(given)
