"""From texts to padded token ids: [CLS] tokens [SEP] [PAD]..., in one of a few lengths.

The length bucket is what a server learns about a text's length. A text that does not fit is
refused, never cut: a cut text has another meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from veilform.errors import InputError, ModelError
from veilform.models import checkpoint

BUCKETS = (16, 32, 64, 128, 256, 512)
MAX_TEXT_BYTES = 1 << 17
_SPECIAL = ("[CLS]", "[SEP]", "[PAD]")

Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class TokenBatch:
    """Texts padded to one bucket, each array (texts, positions); the mask is one at tokens."""

    ids: Int64
    mask: Int64
    types: Int64


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

    ``max_tokens`` is the number of positions that the model has, [CLS] and [SEP] included.
    """

    def __init__(self, tokenizer: Tokenizer, max_tokens: int) -> None:
        vocabulary = tokenizer.get_vocab(with_added_tokens=True)
        absent = [token for token in _SPECIAL if token not in vocabulary]
        if absent:
            raise ModelError(f"tokenizer.json has no {', '.join(absent)}: no BERT tokenizer")
        # A stored truncation would silently cut texts; a stored padding would hide their length.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._cls, self._sep, self._pad = (vocabulary[token] for token in _SPECIAL)
        self.max_tokens = max_tokens

    @classmethod
    def from_folder(cls, folder: Path) -> TextEncoder:
        """Read tokenizer.json, and the model's number of positions from config.json.

        Raises:
            ModelError: a file is missing or broken, or this is no BERT tokenizer.
        """
        limit = checkpoint.read_config(folder).get("max_position_embeddings")
        if not isinstance(limit, int) or limit < 3:
            raise ModelError("config.json: max_position_embeddings must be a number above 2")
        name = checkpoint.TOKENIZER
        content = checkpoint.read_bytes(folder, name, checkpoint.MAX_TOKENIZER_BYTES)
        try:
            tokenizer = Tokenizer.from_str(content.decode("utf-8"))
        except Exception as error:  # the library raises bare Exception
            raise ModelError(f"{name} is not a tokenizer: {error}") from error
        return cls(tokenizer, limit)

    def up_to(self, max_tokens: int) -> TextEncoder:
        """The same for texts of at most ``max_tokens``."""
        return TextEncoder(self._tokenizer, min(max_tokens, self.max_tokens))

    @property
    def vocab_size(self) -> int:
        """One more than the largest id that a text can turn into."""
        return 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values())

    def lengths(self, buckets: Sequence[int] = BUCKETS) -> tuple[int, ...]:
        """The buckets that this model has positions for."""
        return tuple(size for size in buckets if size <= self.max_tokens)

    def encode(
        self, texts: Sequence[str | bytes], buckets: Sequence[int] = BUCKETS
    ) -> list[list[int]]:
        """Token ids of each text, with [CLS] and [SEP], not padded.

        Raises:
            InputError: a text is no text, not UTF-8, empty, or has more tokens than the model or
                the largest bucket takes. The message says which text, never its content.
        """
        if isinstance(texts, str | bytes):
            raise InputError("expected a list of texts, got a single one")
        if not texts:
            raise InputError("there is no text")
        checked = [_check(text, i) for i, text in enumerate(texts, 1)]
        encodings = self._tokenizer.encode_batch(checked, add_special_tokens=False)
        limit = max(self.lengths(buckets), default=0)
        result = []
        for i, encoding in enumerate(encodings, 1):
            count = len(encoding.ids) + 2
            if count == 2:
                raise InputError(f"text {i} holds no tokens, only characters that are dropped")
            if count > limit:
                raise InputError(
                    f"text {i} has {count} tokens, the limit is {limit}. Shorten it or split it"
                )
            result.append([self._cls, *encoding.ids, self._sep])
        return result

    def pad(self, ids: Sequence[Sequence[int]], buckets: Sequence[int] = BUCKETS) -> TokenBatch:
        """Texts' ids in one batch, padded to the bucket of the longest.

        Raises:
            InputError: there are none, or the longest fits no bucket that the model has.
        """
        if not ids:
            raise InputError("there is no text")
        length = bucket(max(map(len, ids)), self.lengths(buckets))
        ids_BS = np.full((len(ids), length), self._pad, np.int64)
        mask_BS = np.zeros_like(ids_BS)
        for row, tokens in enumerate(ids):
            ids_BS[row, : len(tokens)] = tokens
            mask_BS[row, : len(tokens)] = 1
        return TokenBatch(ids_BS, mask_BS, np.zeros_like(ids_BS))


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
