"""Run the plain model on real texts and record the ranges that its wires take.

Texts are padded to their real length buckets, because the secure run
computes padded rows too: their denominators and variances must lie inside the ranges as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from veilform.approx import registry
from veilform.approx.arrays import FloatArray
from veilform.errors import InputError, ModelError
from veilform.models.bert import validate
from veilform.models.bert.calibration import (
    Calibration,
    LayerCalibration,
    Magnitudes,
    Range,
    RowRange,
)
from veilform.models.bert.embedding import variance
from veilform.models.bert.plain import PlainBert
from veilform.models.checkpoint import model_digest
from veilform.models.text import BUCKETS, Pair, Text, TextEncoder, TokenBatch, Tokens, bucket

MAX_TEXTS = 1_000_000
_POSITIONS_A_BATCH = 2048

Progress = Callable[[int, int], None]
"""Called with texts done and texts in all."""


def calibrate(
    folder: Path,
    texts: Sequence[Text | Pair],
    buckets: Sequence[int] = BUCKETS,
    progress: Progress = lambda done, total: None,
) -> Calibration:
    """Measure the model in ``folder`` on ``texts``; nothing is written.

    Each text is padded to its own bucket.

    Raises:
        ModelError: the model cannot be served (all reasons), or a wire overflowed.
        InputError: there are no texts, or one cannot be encoded.
    """
    if len(texts) > MAX_TEXTS:
        raise InputError(f"{len(texts)} texts, the limit is {MAX_TEXTS}")
    validate.check(folder)
    encoder = TextEncoder.from_folder(folder)
    model = PlainBert.load(folder)
    recorder = _Recorder(model)
    by_bucket: defaultdict[int, list[Tokens]] = defaultdict(list)
    usable = encoder.lengths(buckets)
    for tokens in encoder.encode(texts, buckets):
        by_bucket[bucket(len(tokens), usable)].append(tokens)
    done = 0
    for length, group in sorted(by_bucket.items()):
        size = max(1, _POSITIONS_A_BATCH // length)
        for start in range(0, len(group), size):
            batch = encoder.pad(group[start : start + size], usable)
            recorder.run(batch)
            done += len(batch.ids)
            progress(done, len(texts))
    return recorder.result(model_digest(folder), len(texts), tuple(sorted(by_bucket)))


class _Recorder:
    """Widens ranges as batches pass."""

    def __init__(self, model: PlainBert) -> None:
        self._model = model
        self._largest: defaultdict[str, float] = defaultdict(float)
        self._ranges: dict[str, Range] = {}
        self._rows: dict[str, RowRange] = {}
        self._mask_BS: NDArray[np.bool_] = np.zeros((0, 0), np.bool_)
        self._v_BSD: FloatArray = np.zeros((0, 0, 0), np.float32)

    def run(self, batch: TokenBatch) -> None:
        self._mask_BS = batch.mask != 0
        with np.errstate(all="ignore"):  # an overflow is reported by _magnitude
            self._model.forward(batch.ids, batch.mask, batch.types, observe=self._observe)

    def result(self, digest: str, texts: int, buckets: tuple[int, ...]) -> Calibration:
        return Calibration(
            model=digest,
            texts=texts,
            buckets=buckets,
            embedding_variance=self._rows["embedding_norm_input"],
            embedding_magnitude=self._largest["embedding_norm_input"],
            layers=tuple(map(self._layer, range(self._model.config.num_hidden_layers))),
            pooler=self._ranges.get("pooler"),
            pooled_magnitude=self._largest["pooled"],
            logits=self._ranges["logits"],
        )

    def _layer(self, i: int) -> LayerCalibration:
        prefix = f"layer.{i}."
        wires = [field.name for field in msgspec.structs.fields(Magnitudes)]
        return LayerCalibration(
            denominator=self._rows[prefix + "denominator"],
            attention_variance=self._rows[prefix + "attention_norm_input"],
            feedforward_variance=self._rows[prefix + "feedforward_norm_input"],
            magnitudes=Magnitudes(**{wire: self._largest[prefix + wire] for wire in wires}),
        )

    def _observe(self, name: str, value: FloatArray) -> None:
        self._magnitude(name, value)
        prefix, _, part = name.rpartition(".")
        if part.endswith("norm_input"):
            self._record_rows(name, variance(value)[..., None])
        elif part == "v":
            self._v_BSD = value
        elif part == "scores":
            self._attention(prefix + ".", int(prefix.rpartition(".")[2]), value)
        elif part in ("pooler", "logits"):
            seen = Range(float(value.min()), float(value.max()))
            self._ranges[name] = seen.join(self._ranges.get(name))

    def _attention(self, prefix: str, i: int, scores_BHSS: FloatArray) -> None:
        """Record e, its mean over valid keys, and the sum of e v before the division."""
        attention = registry.attention(self._model.config.attention(i))
        valid_B11S = self._mask_BS[:, None, None, :]
        e_BHSS = (attention.numerators or attention.plain)(scores_BHSS, valid_B11S)
        self._magnitude(prefix + "e", e_BHSS)
        masked_BHSS = e_BHSS * valid_B11S
        mean_BHS = masked_BHSS.sum(axis=-1) / valid_B11S.sum(axis=-1)
        self._record_rows(prefix + "denominator", mean_BHS.swapaxes(1, 2))
        batch, heads, length, _ = scores_BHSS.shape
        v_BHSE = self._v_BSD.reshape(batch, length, heads, -1).swapaxes(1, 2)
        self._magnitude(prefix + "context_sum", masked_BHSS @ v_BHSE)

    def _record_rows(self, name: str, value_BSX: FloatArray) -> None:
        def extent(rows: FloatArray) -> Range:
            return Range(float(rows.min()), float(rows.max()))

        padding = value_BSX[~self._mask_BS]
        seen = RowRange(extent(value_BSX[self._mask_BS]), extent(padding) if padding.size else None)
        self._rows[name] = seen.join(self._rows.get(name))

    def _magnitude(self, name: str, value: FloatArray) -> None:
        largest = float(np.abs(value).max())
        if not np.isfinite(largest):
            raise ModelError(f"the wire {name} overflows float32: the model diverges on a text")
        self._largest[name] = max(self._largest[name], largest)


def read_texts(path: Path) -> list[bytes]:
    """The lines of a text file that are not blank; InputError if it cannot be read."""
    try:
        return [line for line in path.read_bytes().splitlines() if line.strip()]
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror}") from error
