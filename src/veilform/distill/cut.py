"""Texts cut to the length that a model was trained at, as training cuts them."""

from __future__ import annotations

from tokenizers import Encoding, Tokenizer

from veilform.distill.examples import Example


def cut(tokenizer: Tokenizer, example: Example) -> str | tuple[str, str]:
    """The text, or pair, without what lies beyond the tokenizer's truncation.

    A private run refuses texts that are too long, so what is given to it must be cut before. Where
    truncation splits a word, the word goes: its half could be other tokens, and more.
    """
    texts = [example.text] if example.pair is None else [example.text, example.pair]
    encoding = tokenizer.encode(*texts)
    while encoding.overflowing:
        shorter = _kept(encoding, texts)
        if shorter == texts:
            longest = max(range(len(texts)), key=lambda i: len(texts[i]))
            shorter[longest] = _without_last_word(texts[longest])
        texts = shorter
        encoding = tokenizer.encode(*texts)
    return (texts[0], texts[1]) if len(texts) == 2 else texts[0]


def _kept(encoding: Encoding, texts: list[str]) -> list[str]:
    """Each text up to its last token."""
    ends = [0] * len(texts)
    for sequence, (_, end) in zip(encoding.sequence_ids, encoding.offsets, strict=True):
        if sequence is not None:
            ends[sequence] = max(ends[sequence], end)
    return [text[:end] for text, end in zip(texts, ends, strict=True)]


def _without_last_word(text: str) -> str:
    """The text up to its last space, or to the last but one character if it has none."""
    words = text.rsplit(maxsplit=1)
    return words[0] if len(words) == 2 else text.rstrip()[:-1]
