"""From texts to padded token ids: [CLS] tokens [SEP] [PAD]..., in one of a few lengths.

The length bucket is what a server learns about a text's length. A text that does not fit is
refused, never cut: a cut text has another meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, AnyStr, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from veilform.errors import InputError, ModelError
from veilform.models import checkpoint
from veilform.models.bert.config import BertConfig
from veilform.models.sides import Shape

BUCKETS = (16, 32, 64, 128, 256, 512)
MAX_TEXT_BYTES = 1 << 17

Text: TypeAlias = str | bytes
Pair: TypeAlias = tuple[Text, Text]
Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class Frame:
    """The special tokens around a text, or around a pair: start A end (end) B end.

    Attributes:
        between: how many end tokens part a pair.
        second_type: token type of B and of the end after it.
    """

    start: str
    end: str
    padding: str
    between: int
    second_type: int


FRAMES = (Frame("[CLS]", "[SEP]", "[PAD]", 1, 1), Frame("<s>", "</s>", "<pad>", 2, 0))
"""Of BERT and of RoBERTa. A tokenizer's vocabulary tells which: some BERTs have RoBERTa's."""


@dataclass(frozen=True, repr=False)
class Tokens:
    """A text's or a pair's token ids and types, special tokens included; not padded."""

    ids: tuple[int, ...]
    types: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class TokenBatch:
    """Texts padded to one bucket, each array (texts, positions); the mask is one at tokens."""

    ids: Int64
    mask: Int64
    types: Int64

    @property
    def shape(self) -> Shape:
        """Of the run that answers them."""
        return Shape(*self.ids.shape)


def bucket(length: int, buckets: Sequence[int] = BUCKETS) -> int:
    """The smallest bucket that holds ``length`` tokens; InputError if none does."""
    fitting = [size for size in buckets if size >= length]
    if not fitting:
        raise InputError(
            f"{length} tokens are over the limit of {max(buckets, default=0)}; shorten the text"
        )
    return min(fitting)


class TextEncoder:
    """Tokenises texts as the model expects them.

    ``max_tokens`` is the number of positions that the model has, special tokens included;
    ``types`` is the number of its token types.
    """

    def __init__(self, tokenizer: Tokenizer, max_tokens: int, types: int = 1) -> None:
        vocabulary = tokenizer.get_vocab(with_added_tokens=True)
        fitting = [f for f in FRAMES if {f.start, f.end, f.padding} <= vocabulary.keys()]
        if not fitting:
            wanted = " nor ".join(f"{f.start}, {f.end}, {f.padding}" for f in FRAMES)
            raise ModelError(f"tokenizer.json has neither {wanted}: of no family known here")
        # A stored truncation would silently cut texts; a stored padding would hide their length.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._frame = frame = fitting[0]
        self._start, self._end = vocabulary[frame.start], vocabulary[frame.end]
        self._padding = vocabulary[frame.padding]
        self._second_type = min(frame.second_type, types - 1)
        self._types = types
        self.max_tokens = max_tokens

    @classmethod
    def from_folder(cls, folder: Path) -> TextEncoder:
        """Read tokenizer.json, and the model's positions and token types from config.json.

        Raises:
            ModelError: a file is missing or broken, or the tokenizer is of an unknown family.
        """
        config = BertConfig.read(folder)
        name = checkpoint.TOKENIZER
        content = checkpoint.read_bytes(folder, name, checkpoint.MAX_TOKENIZER_BYTES)
        try:
            tokenizer = Tokenizer.from_str(content.decode("utf-8"))
        except Exception as error:  # the library raises bare Exception
            raise ModelError(f"{name} is not a tokenizer: {error}") from error
        return cls(tokenizer, config.max_position_embeddings, config.type_vocab_size)

    def up_to(self, max_tokens: int) -> TextEncoder:
        """The same for texts of at most ``max_tokens``."""
        return TextEncoder(self._tokenizer, min(max_tokens, self.max_tokens), self._types)

    @property
    def vocab_size(self) -> int:
        """One more than the largest id that a text can turn into."""
        return 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values())

    def lengths(self, buckets: Sequence[int] = BUCKETS) -> tuple[int, ...]:
        """The buckets that this model has positions for."""
        return tuple(size for size in buckets if size <= self.max_tokens)

    def encode(
        self, texts: Sequence[Text | Pair], buckets: Sequence[int] = BUCKETS
    ) -> list[Tokens]:
        """Tokens of each text or pair of texts.

        Raises:
            InputError: a text is no text, not UTF-8, empty, or has more tokens than the model or
                the largest bucket takes. The message says which text, never its content.
        """
        if isinstance(texts, str | bytes):
            raise InputError("expected a list of texts, got a single one")
        if not texts:
            raise InputError("there is no text")
        checked = [_parts(text, i) for i, text in enumerate(texts, 1)]
        encodings = iter(
            self._tokenizer.encode_batch(
                [part for parts in checked for part in parts], add_special_tokens=False
            )
        )
        limit = max(self.lengths(buckets), default=0)
        result = []
        for i, parts in enumerate(checked, 1):
            ids = [next(encodings).ids for _ in parts]
            if not all(ids):
                raise InputError(f"text {i} holds no tokens, only characters that are dropped")
            tokens = self._framed(*ids)
            if len(tokens) > limit:
                raise InputError(
                    f"text {i} has {len(tokens)} tokens, the limit is {limit}. Shorten it or "
                    "split it"
                )
            result.append(tokens)
        return result

    def _framed(self, first: list[int], second: list[int] | None = None) -> Tokens:
        ids = [self._start, *first, self._end]
        types = [0] * len(ids)
        if second is not None:
            gap = [self._end] * (self._frame.between - 1)
            ids += [*gap, *second, self._end]
            types += [0] * len(gap) + [self._second_type] * (len(second) + 1)
        return Tokens(tuple(ids), tuple(types))

    def pad(self, texts: Sequence[Tokens], buckets: Sequence[int] = BUCKETS) -> TokenBatch:
        """Encoded texts in one batch, padded to the bucket of the longest.

        Raises:
            InputError: there are none, or the longest fits no bucket that the model has.
        """
        if not texts:
            raise InputError("there is no text")
        length = bucket(max(map(len, texts)), self.lengths(buckets))
        ids_BS = np.full((len(texts), length), self._padding, np.int64)
        mask_BS, types_BS = np.zeros_like(ids_BS), np.zeros_like(ids_BS)
        for row, tokens in enumerate(texts):
            ids_BS[row, : len(tokens)] = tokens.ids
            types_BS[row, : len(tokens)] = tokens.types
            mask_BS[row, : len(tokens)] = 1
        return TokenBatch(ids_BS, mask_BS, types_BS)

    def packed(self, encoded: Tokens) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """A text's tokens as plain data, for another process."""
        return encoded.ids, encoded.types

    def unpacked(self, plain: tuple[Any, ...]) -> Tokens:
        """What `packed` made plain."""
        return Tokens(*plain)


def split_pairs(lines: Sequence[AnyStr], tab: AnyStr) -> list[tuple[AnyStr, AnyStr]]:
    """The two texts of each line; InputError for a line with no ``tab``, or more than one."""
    pairs = []
    for number, line in enumerate(lines, 1):
        parts = line.split(tab)
        if len(parts) != 2:
            raise InputError(f"text {number} is no pair; write two texts with one tab between them")
        pairs.append((parts[0], parts[1]))
    return pairs


def _parts(text: object, number: int) -> list[str]:
    """A text, or both of a pair."""
    if not isinstance(text, tuple):
        return [_check(text, number)]
    if len(text) != 2:
        raise InputError(f"text {number} is a tuple of {len(text)}; a pair has two texts")
    return [_check(part, number) for part in text]


def _check(text: object, number: int) -> str:
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"text {number} is not UTF-8 (byte {error.start})") from error
    if not isinstance(text, str):
        raise InputError(f"text {number} is a {type(text).__name__}, not a text")
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise InputError(f"text {number} is not valid Unicode (at {error.start})") from error
    if size > MAX_TEXT_BYTES:
        raise InputError(f"text {number} has {size} bytes, the limit is {MAX_TEXT_BYTES}")
    if not text.strip():
        raise InputError(f"text {number} is empty; give it some words")
    return text
