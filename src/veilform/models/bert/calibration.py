"""What calibration.json holds: the ranges that a model's wires take on real texts.

The secure run sizes its tables from these and raises RangeError outside them.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import msgspec

from veilform.errors import ModelError
from veilform.models import checkpoint

CALIBRATION = "calibration.json"
FORMAT = 1
_MAX_BYTES = 4 << 20

_Count = Annotated[int, msgspec.Meta(ge=1)]
_Magnitude = Annotated[float, msgspec.Meta(ge=0)]


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A closed interval."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise ValueError(f"no range: {self.low} to {self.high}")

    def join(self, other: Range | None) -> Range:
        """The smallest range that holds both."""
        if other is None:
            return self
        return Range(min(self.low, other.low), max(self.high, other.high))


class RowRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Ranges over the rows of tokens and, apart, over the rows of padding (if there were any)."""

    valid: Range
    padded: Range | None = None

    @property
    def whole(self) -> Range:
        """Over all rows: what the secure run, which computes padding too, must hold."""
        return self.valid.join(self.padded)

    def join(self, other: RowRange | None) -> RowRange:
        """The smallest ranges that hold both."""
        if other is None:
            return self
        padded = self.padded.join(other.padded) if self.padded is not None else other.padded
        return RowRange(self.valid.join(other.valid), padded)


class Magnitudes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Largest absolute value of each wire of a layer, padded rows included.

    scores: q k^T / sqrt(head size). e: (s + 5)^2 over all keys, before the mask. context_sum: the
    sum of e v over valid keys, before the division. context: after it. ``*_output``: the dense
    layer alone; ``*_norm_input``: with the residual; ``*_norm``: after LayerNorm. inner: before
    the activation; activation: after it.
    """

    q: _Magnitude
    k: _Magnitude
    v: _Magnitude
    scores: _Magnitude
    e: _Magnitude
    context_sum: _Magnitude
    context: _Magnitude
    attention_output: _Magnitude
    attention_norm_input: _Magnitude
    attention_norm: _Magnitude
    inner: _Magnitude
    activation: _Magnitude
    feedforward_output: _Magnitude
    feedforward_norm_input: _Magnitude
    feedforward_norm: _Magnitude


class LayerCalibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One encoder layer.

    denominator: the mean over valid keys of (s + 5)^2, a row and head. The variances are those of
    LayerNorm's input, a row: population variance over the hidden axis, without eps.
    """

    denominator: RowRange
    attention_variance: RowRange
    feedforward_variance: RowRange
    magnitudes: Magnitudes


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Ranges of a whole model; ``model`` is the digest of the model that they were measured on."""

    format: int = FORMAT
    model: str
    texts: _Count
    buckets: tuple[_Count, ...]
    embedding_variance: RowRange
    embedding_magnitude: _Magnitude
    layers: tuple[LayerCalibration, ...]
    pooler: Range | None
    pooled_magnitude: _Magnitude
    logits: Range

    def to_json(self) -> bytes:
        """Indented JSON with a final newline."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"

    @classmethod
    def from_json(cls, content: bytes) -> Calibration:
        """Raises ModelError if it is malformed or of another format version."""
        try:
            result = msgspec.json.decode(content, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ModelError(f"{CALIBRATION} is malformed: {error}. Calibrate again") from error
        if result.format != FORMAT:
            raise ModelError(
                f"{CALIBRATION} has format {result.format}, expected {FORMAT}. Calibrate again"
            )
        return result

    def save(self, folder: Path) -> None:
        """Write calibration.json into ``folder``."""
        (folder / CALIBRATION).write_bytes(self.to_json())

    @classmethod
    def load(cls, folder: Path) -> Calibration:
        """Read calibration.json; ModelError if it is missing or malformed."""
        return cls.from_json(checkpoint.read_bytes(folder, CALIBRATION, _MAX_BYTES))
