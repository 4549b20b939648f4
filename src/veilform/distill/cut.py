"""Texts cut to the length that a model was trained at, as training cuts them."""

from __future__ import annotations

from tokenizers import Tokenizer

from veilform.distill.examples import Example


def cut(tokenizer: Tokenizer, example: Example) -> str | tuple[str, str]:
    """The text, or pair, without what lies beyond the tokenizer's truncation.

    A private run refuses texts that are too long, so what is given to it must be cut before.
    """
    texts = (example.text,) if example.pair is None else (example.text, example.pair)
    encoding = tokenizer.encode(*texts)
    if not encoding.overflowing:
        return texts if example.pair is not None else example.text
    ends = [0] * len(texts)
    for sequence, (_, end) in zip(encoding.sequence_ids, encoding.offsets, strict=True):
        if sequence is not None:
            ends[sequence] = max(ends[sequence], end)
    kept = tuple(text[:end] for text, end in zip(texts, ends, strict=True))
    return kept if example.pair is not None else kept[0]
