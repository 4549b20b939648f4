"""Tokenised texts as a torch data set, padding, and batches of like length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from tokenizers import Tokenizer
from torch.utils.data import Dataset, Sampler

from veilform.distill.examples import Example


class Encoded(Dataset):
    """Texts, or pairs of them, as token numbers.

    An item is a dictionary: ``input_ids`` and ``token_type_ids`` (lists), ``labels`` (a number).
    """

    def __init__(
        self, tokenizer: Tokenizer, examples: Sequence[Example], max_tokens: int, sort: bool = False
    ) -> None:
        """Cut to ``max_tokens``; with ``sort``, shortest first (for evaluation)."""
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens)
        texts = [e.text if e.pair is None else (e.text, e.pair) for e in examples]
        rows = [
            {"input_ids": e.ids, "token_type_ids": e.type_ids, "labels": x.label}
            for e, x in zip(tokenizer.encode_batch(texts), examples, strict=True)
        ]
        self.rows = sorted(rows, key=lambda row: len(row["input_ids"])) if sort else rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict:
        return self.rows[index]

    def lengths(self) -> list[int]:
        """Tokens in each item."""
        return [len(row["input_ids"]) for row in self.rows]


class Collator:
    """Pads a batch to its longest item: [B, T] ids, types and mask; [B] labels."""

    def __init__(self, pad: int = 0, regression: bool = False, types: bool = True) -> None:
        self.pad, self.regression, self.types = pad, regression, types

    def __call__(self, rows: Sequence[dict]) -> dict[str, torch.Tensor]:
        width = max(len(row["input_ids"]) for row in rows)
        shape = (len(rows), width)
        batch = {
            "input_ids": torch.full(shape, self.pad),
            "attention_mask": torch.zeros(shape, dtype=torch.long),
        }
        if self.types:
            batch["token_type_ids"] = torch.zeros(shape, dtype=torch.long)
        for i, row in enumerate(rows):
            count = len(row["input_ids"])
            batch["input_ids"][i, :count] = torch.tensor(row["input_ids"])
            batch["attention_mask"][i, :count] = 1
            if self.types:
                batch["token_type_ids"][i, :count] = torch.tensor(row["token_type_ids"])
        kind = torch.float32 if self.regression else torch.long
        batch["labels"] = torch.tensor([row["labels"] for row in rows], dtype=kind)
        return batch


class BucketSampler(Sampler):
    """Shuffled order in which neighbours, a batch at a time, have about the same length.

    Items are shuffled, sorted by length inside pools of ``pool`` batches, and the batches are
    shuffled. The order depends on the seed and the epoch alone, so every process has the same.
    """

    def __init__(self, lengths: Sequence[int], batch: int, seed: int, pool: int = 16) -> None:
        self.lengths, self.batch, self.seed, self.pool = lengths, batch, seed, pool
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        """The next order is that of this epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(1000 * self.seed + self.epoch)
        order = torch.randperm(len(self.lengths), generator=generator).tolist()
        groups = []
        for start in range(0, len(order), self.batch * self.pool):
            part = sorted(
                order[start : start + self.batch * self.pool], key=lambda i: self.lengths[i]
            )
            groups += [part[i : i + self.batch] for i in range(0, len(part), self.batch)]
        # The short batch, if any, stays last: elsewhere it would shift all others.
        full = [group for group in groups if len(group) == self.batch]
        rest = [group for group in groups if len(group) < self.batch]
        mixed = torch.randperm(len(full), generator=generator).tolist()
        for group in [*(full[i] for i in mixed), *rest]:
            yield from group
