"""Texts to calibrate the sentiment student on: nothing held out, every length it will meet.

    python -m veilform.distill.texts texts.txt && veilform calibrate FOLDER texts.txt

Training sentences of Rotten Tomatoes, endings of IMDb reviews, and whole reviews of moderate length
for the long buckets, each as one line.
"""

from __future__ import annotations

import sys
from pathlib import Path

from veilform.distill.data import (
    Example,
    dataset_path,
    labelled_endings,
    read_rows,
    review_sentences,
    split_sentences,
    unique_sorted,
    without_leaks,
)

SENTENCES, ENDINGS, REVIEWS = 3000, 1000, 160
WORDS = (40, 340)
"""Fewest and most words of a whole review: with [CLS], [SEP] and word pieces, below 512 tokens."""


def calibration_texts() -> list[str]:
    """The texts, in the data's hash order: the same at every run."""
    path = dataset_path()
    split = split_sentences(read_rows(path, "rotten_tomatoes"))
    reviews = read_rows(path, "imdb")
    whole = [Example(" ".join(review_sentences(r.text)), r.label) for r in reviews]
    fitting = [e for e in unique_sorted(whole) if WORDS[0] <= len(e.text.split()) <= WORDS[1]]
    chosen = [
        *split.train[:SENTENCES],
        *labelled_endings(reviews, split, ENDINGS),
        *without_leaks(fitting, split)[:REVIEWS],
    ]
    return [" ".join(example.text.split()) for example in chosen]


def main() -> None:
    """Writes the texts to the file that the command line names."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m veilform.distill.texts FILE")
    Path(sys.argv[1]).write_text("\n".join(calibration_texts()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
