"""What an output says, by the conventions of Hugging Face's pipelines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.checkpoints import make_tiny
from tests.families import make_family

from veilform.errors import ModelError
from veilform.models.answers import CLASSIFICATION, EMBEDDING, classify, embed
from veilform.models.bert.config import BertConfig

LOGITS = np.array([-1.0, 2.0, 0.5])
THREE = {"0": "a", "1": "b", "2": "c"}


def config(folder: Path, problem_type: str | None, labels: dict[str, str]) -> BertConfig:
    return BertConfig.read(make_tiny(folder, problem_type=problem_type, id2label=labels))


@pytest.mark.parametrize(
    ("problem_type", "score"),
    [
        (None, np.exp(2) / np.exp(LOGITS).sum()),
        ("single_label_classification", np.exp(2) / np.exp(LOGITS).sum()),
        ("multi_label_classification", 1 / (1 + np.exp(-2))),
        ("regression", 2.0),
    ],
)
def test_several_labels(tmp_path: Path, problem_type: str | None, score: float) -> None:
    answer = classify(LOGITS, config(tmp_path, problem_type, THREE))
    assert answer == {"label": "b", "score": pytest.approx(score)}


@pytest.mark.parametrize("logit", [-900.0, -3.0, 0.0, 3.7, 900.0])
def test_one_label(tmp_path: Path, logit: float) -> None:
    """A model of one label that does not say that it is a regression gets a sigmoid there, too."""
    one = {"0": "LABEL_0"}
    number = classify(np.array([logit]), config(tmp_path / "r", "regression", one))
    assert number == {"label": "LABEL_0", "score": logit}
    squashed = classify(np.array([logit]), config(tmp_path / "s", None, one))
    assert squashed["score"] == pytest.approx(
        1 / (1 + np.exp(-min(logit, 700))) if logit > -700 else 0
    )


def test_large_logits_do_not_overflow(tmp_path: Path) -> None:
    answer = classify(np.array([1e4, -1e4, 0.0]), config(tmp_path, None, THREE))
    assert answer == {"label": "a", "score": 1.0}


def test_a_vector_is_the_output(tmp_path: Path) -> None:
    row = np.linspace(-1, 1, 16, dtype=np.float32)
    vector = embed(row, BertConfig.read(make_family(tmp_path, "roberta", "Model")))
    assert vector.dtype == np.float64
    np.testing.assert_array_equal(vector, row)


def test_a_model_is_for_one_task(tmp_path: Path) -> None:
    classifier = BertConfig.read(make_tiny(tmp_path / "c"))
    encoder = BertConfig.read(make_family(tmp_path / "e", "bert", "Model"))
    CLASSIFICATION.require(classifier)
    EMBEDDING.require(encoder)
    with pytest.raises(ModelError, match="for the task 'feature-extraction', not for 'text-class"):
        CLASSIFICATION.require(encoder)
    with pytest.raises(ModelError, match="a BertMeanPoolForSequenceClassification is for the task"):
        EMBEDDING.require(classifier)


def test_hugging_face_gives_the_same_scores(tmp_path: Path) -> None:
    """Its own postprocessing, where torch is installed."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from types import SimpleNamespace

    rng = np.random.default_rng(0)
    theirs = transformers.TextClassificationPipeline.postprocess
    for labels in ({"0": "a"}, THREE):
        for kind in (
            None,
            "regression",
            "single_label_classification",
            "multi_label_classification",
        ):
            if kind == "single_label_classification" and len(labels) == 1:
                continue
            ours = config(tmp_path / f"{kind}{len(labels)}", kind, labels)
            settings = SimpleNamespace(
                problem_type=kind, num_labels=len(labels), id2label=dict(enumerate(ours.labels))
            )
            stand_in = SimpleNamespace(model=SimpleNamespace(config=settings))
            for _ in range(5):
                logits = rng.normal(0, 3, len(labels))
                expected = theirs(stand_in, {"logits": torch.tensor(logits)[None]})
                answer = classify(logits, ours)
                assert answer["label"] == expected["label"]
                assert answer["score"] == pytest.approx(expected["score"], abs=1e-6)
