from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.checkpoints import TEXTS, make_tiny, tiny_tokenizer

from veilform.errors import InputError, ModelError
from veilform.models.text import BUCKETS, TextEncoder, Tokens, bucket, split_pairs

ENCODER = TextEncoder(tiny_tokenizer(), 64, types=2)


def tokens(ids: list[int]) -> Tokens:
    return Tokens(tuple(ids), (0,) * len(ids))


def test_the_ids_are_the_tokenizers(tmp_path: Path) -> None:
    encoder = TextEncoder.from_folder(make_tiny(tmp_path))
    assert encoder.encode(TEXTS) == [tokens(tiny_tokenizer().encode(text).ids) for text in TEXTS]
    assert encoder.max_tokens == 64
    assert encoder.vocab_size == 72
    assert encoder.encode([b"a good film"]) == encoder.encode(["a good film"])


def test_stored_truncation_and_padding_are_ignored(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path)
    tokenizer = tiny_tokenizer()
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=40)
    tokenizer.save(str(folder / "tokenizer.json"))
    encoder = TextEncoder.from_folder(folder)
    assert encoder.encode(TEXTS) == ENCODER.encode(TEXTS)


def test_special_tokens_do_not_depend_on_a_stored_template(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path)
    stored = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    stored["post_processor"] = None
    (folder / "tokenizer.json").write_text(json.dumps(stored), encoding="utf-8")
    assert TextEncoder.from_folder(folder).encode(TEXTS) == ENCODER.encode(TEXTS)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([""], "text 1 is empty"),
        (["fine", " \t\n\u3000"], "text 2 is empty"),
        (["\x00\x01"], "text 1 holds no tokens"),
        ([b"caf\xe9 secret"], r"text 1 is not UTF-8 \(byte 3\)"),
        (["ok \ud800"], "text 1 is not valid Unicode"),
        ([3], "text 1 is a int, not a text"),
        ([None], "text 1 is a NoneType"),
        (["x" * 200_000], "text 1 has 200000 bytes"),
        ([], "there is no text"),
        ("one text", "expected a list"),
        (["good " * 63], "text 1 has 65 tokens, the limit is 64"),
    ],
)
def test_bad_texts(texts: list[object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        ENCODER.encode(texts)  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)


def test_the_limit_itself_fits_and_the_largest_bucket_counts() -> None:
    assert len(ENCODER.encode(["good " * 62])[0]) == 64
    with pytest.raises(InputError, match="has 17 tokens, the limit is 16"):
        ENCODER.encode(["good " * 15], buckets=(16,))
    # Positions between two buckets cannot be used.
    short = TextEncoder(tiny_tokenizer(), 50)
    assert short.lengths() == (16, 32)
    with pytest.raises(InputError, match="has 40 tokens, the limit is 32"):
        short.encode(["good " * 38])


@given(st.integers(1, 512))
def test_bucket_is_the_smallest_that_holds(length: int) -> None:
    size = bucket(length)
    assert size in BUCKETS
    assert length <= size
    assert all(other < length for other in BUCKETS if other < size)


def test_bucket_refuses_what_fits_none() -> None:
    with pytest.raises(InputError, match="513 tokens are over the limit of 512"):
        bucket(513)
    with pytest.raises(InputError, match="limit of 0"):
        bucket(1, ())


@given(st.lists(st.integers(1, 30), min_size=1, max_size=5))
def test_pad(lengths: list[int]) -> None:
    texts = [tokens([2, *[9] * (n - 1)]) for n in lengths]
    batch = ENCODER.pad(texts)
    assert batch.ids.shape == batch.mask.shape == batch.types.shape
    assert batch.ids.shape == (len(texts), bucket(max(lengths)))
    assert batch.mask.sum(axis=1).tolist() == lengths
    for row, mask, text in zip(batch.ids, batch.mask, texts, strict=True):
        assert row[mask == 1].tolist() == list(text.ids)
        assert (row[mask == 0] == 0).all()
        assert (np.diff(mask) <= 0).all()
    assert not batch.types.any()


def test_pairs_of_a_file_s_lines() -> None:
    assert split_pairs(["a b\tc", "d\te "], "\t") == [("a b", "c"), ("d", "e ")]
    assert split_pairs([b"a\tb"], b"\t") == [(b"a", b"b")]
    for line in ("alone", "a\tb\tc"):
        with pytest.raises(InputError, match="text 2 is no pair"):
            split_pairs(["a\tb", line], "\t")


def test_a_pair_may_fill_the_model_and_no_more() -> None:
    (tokens_,) = ENCODER.encode([("good " * 30, "bad " * 31)])
    assert len(tokens_) == 64
    assert sum(tokens_.types) == 32
    with pytest.raises(InputError, match="text 1 has 65 tokens, the limit is 64"):
        ENCODER.encode([("good " * 30, "bad " * 32)])
    assert "good" not in repr(tokens_)
    assert "ids" not in repr(tokens_)


def test_pad_refuses_none_and_too_long() -> None:
    with pytest.raises(InputError, match="no text"):
        ENCODER.pad([])
    with pytest.raises(InputError, match="65 tokens are over the limit of 64"):
        ENCODER.pad([tokens([1] * 65)])


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.text(max_size=60) | st.binary(max_size=60))
def test_any_text_is_encoded_or_refused(text: str | bytes) -> None:
    try:
        ids = ENCODER.encode([text])[0].ids
    except InputError:
        return
    assert ids[0] == 2
    assert ids[-1] == 3
    assert 3 <= len(ids) <= 64


@pytest.mark.parametrize("content", [b"{}", b"\xff", b"[1, 2", b'{"model": {"type": "X"}}'])
def test_broken_tokenizer(tmp_path: Path, content: bytes) -> None:
    folder = make_tiny(tmp_path)
    (folder / "tokenizer.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"tokenizer\.json is not a tokenizer"):
        TextEncoder.from_folder(folder)


def test_missing_tokenizer_and_bad_limit(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path, max_position_embeddings=64)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"has no tokenizer\.json"):
        TextEncoder.from_folder(folder)
    (folder / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match="max_position_embeddings"):
        TextEncoder.from_folder(folder)


def test_a_tokenizer_of_another_family(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path)
    stored = (folder / "tokenizer.json").read_text(encoding="utf-8")
    (folder / "tokenizer.json").write_text(stored.replace("[CLS]", "<s>"), encoding="utf-8")
    with pytest.raises(ModelError, match=r"neither \[CLS\], \[SEP\], \[PAD\] nor <s>, </s>, <pad>"):
        TextEncoder.from_folder(folder)
