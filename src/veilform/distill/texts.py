"""Texts to calibrate the sentiment student on: nothing held out, every length it is served at.

    python -m veilform.distill.texts texts.txt && veilform calibrate FOLDER texts.txt

Training sentences of Rotten Tomatoes and endings of IMDb reviews, each as one line. They have at
most 64 tokens, as in distillation: beyond, the student's wires leave their usual ranges by far.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tokenizers import Tokenizer

from veilform.distill.data import (
    MAX_TOKENS,
    dataset_path,
    labelled_endings,
    read_rows,
    split_sentences,
)
from veilform.distill.teacher import checkpoint_path

SENTENCES, ENDINGS = 3000, 1000


def calibration_texts() -> list[str]:
    """The texts, in the data's hash order: the same at every run."""
    path = dataset_path()
    split = split_sentences(read_rows(path, "rotten_tomatoes"))
    reviews = read_rows(path, "imdb")
    tokenizer = Tokenizer.from_file(str(checkpoint_path() / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    chosen = [*split.train[:SENTENCES], *labelled_endings(reviews, split, ENDINGS)]
    texts = [" ".join(example.text.split()) for example in chosen]
    return [text for text in texts if len(tokenizer.encode(text).ids) <= MAX_TOKENS]


def main() -> None:
    """Writes the texts to the file that the command line names."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m veilform.distill.texts FILE")
    Path(sys.argv[1]).write_text("\n".join(calibration_texts()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
