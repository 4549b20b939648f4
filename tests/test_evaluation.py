"""Evaluation: metrics side by side, texts cut as in training, private runs that break off."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.checkpoints import TEXTS, make_tiny, tiny_tokenizer

from veilform.cli import app
from veilform.distill.cut import cut
from veilform.distill.examples import Example
from veilform.errors import InputError, RangeError
from veilform.evaluation import Answers, Evaluator, compare
from veilform.models.text import BUCKETS
from veilform.spread.answering import answered

EXAMPLES = [Example(text, i % 2) for i, text in enumerate(TEXTS * 2)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    make_tiny(folder, calibrated=True)
    return folder


def write(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    return path


def test_cut_keeps_what_training_saw():
    tokenizer = tiny_tokenizer()
    tokenizer.enable_truncation(6)
    assert cut(tokenizer, Example("A good film", 0)) == "A good film"
    assert cut(tokenizer, Example("the film was not good, dull", 0)) == "the film was not"
    tokenizer.post_processor = None
    pair = cut(tokenizer, Example("the film was not", 0, "good bad very great"))
    assert pair == ("the film was", "good bad very")


@given(text=st.text("abdgot .,", min_size=1, max_size=80), limit=st.integers(4, 12))
def test_cut_fits_whatever_the_words(text, limit):
    tokenizer = tiny_tokenizer()
    tokenizer.enable_truncation(limit)
    kept = cut(tokenizer, Example(text, 0))
    assert text.startswith(kept)
    tokenizer.no_truncation()
    assert len(tokenizer.encode(kept).ids) <= limit
    if len(tokenizer.encode(text).ids) <= limit:
        assert kept == text


def test_compare_by_hand():
    plain = Answers(np.array([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [0.0, 1.0]]))
    private = Answers(np.array([[2.0, 0.25], [1.0, 0.0], [np.nan, np.nan]]))
    figures = compare(("accuracy",), np.array([0, 1, 1, 1]), plain, private)
    assert figures["plain"] == {"accuracy": 0.75}
    found = figures["private"]
    assert (found["texts"], found["without_answer"]) == (3, 1)
    assert (found["scores"], found["plain_same"]) == ({"accuracy": 0.5}, {"accuracy": 1.0})
    assert (found["agreement"], found["largest_logit_difference"]) == (0.5, 2.0)


def test_no_answer_at_all():
    figures = compare(
        ("accuracy",), np.array([0]), Answers(np.ones((1, 2))), Answers(np.full((1, 2), np.nan))
    )
    assert figures["private"] == {"texts": 1, "without_answer": 1}


def test_private_answers_are_the_plain_ones(folder):
    evaluator = Evaluator.of_texts(folder, EXAMPLES)
    seen = []
    plain = evaluator.plain(lambda *done: seen.append(done))
    private = evaluator.private(4, lambda *done: seen.append(done))
    assert plain.logits.shape == (10, 2)
    assert private.logits.shape == (4, 2)
    assert np.abs(private.logits - plain.logits[:4]).max() < 0.01
    assert seen[-1] == ("private", 4, 4)
    figures = compare(("accuracy", "f1"), evaluator.labels, plain, private)
    assert figures["private"]["agreement"] == 1
    lengths = figures["private"]["by_length"]
    assert sum(costs["texts"] for costs in lengths.values()) == 4
    assert set(map(int, lengths)) <= set(BUCKETS)


def test_one_text_out_of_range_takes_no_other_with_it(folder):
    evaluator = Evaluator.of_texts(folder, EXAMPLES)
    bad = np.asarray(evaluator.encoded[1].ids)

    def infer(batch):
        if any(np.array_equal(row[: len(bad)], bad) for row in batch.ids):
            raise RangeError("out of range")
        return np.ones((len(batch.ids), 2)), SimpleNamespace()

    runs = answered(SimpleNamespace(infer=infer), evaluator.encoder, evaluator.encoded[:3])
    assert [run.texts for run in runs] == [(0,), (2,)]
    assert runs[0].logits == ((1.0, 1.0),)


def test_the_command(folder, tmp_path, capsys):
    rows = [{"text": e.text, "label": e.label} for e in EXAMPLES]
    data = write(tmp_path / "data.jsonl", rows)
    app(["evaluate", str(folder), "--data", str(data), "--count", "6", "--private", "2", "--json"],
        standalone_mode=False)  # fmt: skip
    figures = json.loads(capsys.readouterr().out)
    assert figures["texts"] == 6
    assert set(figures["plain"]) == {"accuracy", "f1", "matthews"}
    assert figures["private"]["texts"] == 2
    app(["evaluate", str(folder), "--data", str(data), "--private", "2"], standalone_mode=False)
    shown = capsys.readouterr().out
    assert "of private answers equal the plain ones" in shown
    assert "s online" in shown


def test_what_the_command_refuses(folder, tmp_path):
    unknown = write(tmp_path / "data.jsonl", [{"text": "a", "label": "cat"}])
    with pytest.raises(InputError, match="unknown label 'cat'"):
        app(["evaluate", str(folder), "--data", str(unknown)], standalone_mode=False)
    with pytest.raises(InputError, match="no data set is called 'nothing'"):
        app(["evaluate", str(folder), "--data", "nothing"], standalone_mode=False)
