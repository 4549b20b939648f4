"""Makes a model whose matrices are small integers, as a checkpoint folder of plain floats.

What is rounded are the matrices that the server multiplies by, with layer norms' gains folded in
(`folding`); the folder gets them with the gains taken out again. Biases take up what rounding moves
on average: exactly so for the part that a norm's bias makes, and over given texts for all of it.
"""

from __future__ import annotations

import json
import math
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from veilform.approx.arrays import FloatArray
from veilform.errors import InputError, ModelError
from veilform.models.bert import names, validate
from veilform.models.bert.bounds import Gain, Real
from veilform.models.bert.calibrate import calibrate
from veilform.models.bert.calibration import CALIBRATION, Calibration
from veilform.models.bert.config import SMALL_BITS, SMALL_PARTS, SMALL_WEIGHTS, BertConfig
from veilform.models.bert.embedding import layer_norm
from veilform.models.bert.folding import folded, gain_before
from veilform.models.bert.names import expected_shapes
from veilform.models.bert.plain import PlainBert
from veilform.models.bert.rounding import compensated, nearest
from veilform.models.bert.small import small_scales
from veilform.models.bert.stored import StoredTensors
from veilform.models.checkpoint import CONFIG, WEIGHTS, model_digest
from veilform.models.text import Pair, Text, TextEncoder

COPIED = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt",
    "sentencepiece.bpe.model", "merges.txt", "vocab.json", "heldout.jsonl", validate.POOLING,
)  # fmt: skip
"""Files that mean the same beside the new weights."""
FLOAT = 0
MOST_ROWS = 1 << 13
"""Rows of texts that are looked at: enough, and few enough for a laptop."""
_TEXTS_A_BATCH = 32

Progress = Callable[[int, int], None]
"""Called with layers done and layers in all."""
Policy = Sequence[tuple[str, int]]
"""Patterns of names such as ``layer.0.*``, each with 4 or 8 bits or FLOAT; the first that fits."""


def quantize(
    folder: Path,
    out: Path,
    policy: Policy,
    texts: Sequence[Text | Pair] | None = None,
    progress: Progress = lambda done, total: None,
) -> dict[str, int]:
    """Writes the model in ``folder`` with small weights to the new or empty folder ``out``.

    Args:
        policy: which matrices, and their bits. Names are ``layer.I.PART``, parts SMALL_PARTS.
        texts: typical ones. With them rounding is `compensated` and the new model is calibrated;
            without, it is to the nearest, and the old model's ranges stay, if it has any.

    Returns:
        The matrices that are small now, with their bits.

    Raises:
        ModelError: the model cannot be served.
        InputError: ``out`` holds files or cannot be written; or a pattern fits nothing.
    """
    config = validate.check(folder)
    bits = _chosen(config, policy)
    tensors = dict(StoredTensors.open(folder, config, expected_shapes(config)))
    seen = _seen(folder, config, bits, texts) if texts else {}
    changed: dict[str, npt.NDArray[np.float32]] = {}
    for i in range(config.num_hidden_layers):
        before = gain_before(config, tensors, i, private=False)
        layer = folded(config, tensors, i, before)
        for part, piece in _pieces(i, before, layer.middle, config).items():
            name = f"layer.{i}.{part}"
            if name in bits:
                changed |= _rounded(
                    tensors, piece, layer.part(part).weight, bits[name], seen.get(name)
                )
        progress(i + 1, config.num_hidden_layers)
    _write(folder, out, config, bits, changed)
    _range(folder, out, texts)
    return bits


class _Piece(NamedTuple):
    """Where a matrix of the secure program lies in a checkpoint.

    Attributes:
        tensors: of the linear layers side by side, and what each is divided by when it is folded.
        norm: gain and bias that come before it, if they are folded in.
    """

    tensors: tuple[tuple[str, float], ...]
    norm: Gain | None


def _pieces(i: int, before: Gain, middle: Gain, config: BertConfig) -> dict[str, _Piece]:
    def at(part: str) -> str:
        return names.layer(i, part)

    root = math.sqrt(config.head_size)
    return {
        "qkv": _Piece(((at(names.QUERY), root), (at(names.KEY), 1), (at(names.VALUE), 1)), before),
        "projection": _Piece(((at(names.ATTENTION_OUT), 1),), None),
        "inner": _Piece(((at(names.INNER), 1),), middle),
        "outer": _Piece(((at(names.OUT), 1),), None),
    }


def _chosen(config: BertConfig, policy: Policy) -> dict[str, int]:
    """The bits of each small matrix."""
    names_ = [f"layer.{i}.{part}" for i in range(config.num_hidden_layers) for part in SMALL_PARTS]
    for pattern, bits in policy:
        if bits not in (*SMALL_BITS, FLOAT):
            raise InputError(f"weights have 4 or 8 bits, not {bits}")
        if not any(fnmatchcase(name, pattern) for name in names_):
            raise InputError(
                f"no matrix is called {pattern!r}; they are layer.0.qkv to {names_[-1]}, the parts "
                f"{', '.join(SMALL_PARTS)}"
            )
    found = {
        name: next((bits for pattern, bits in policy if fnmatchcase(name, pattern)), FLOAT)
        for name in names_
    }
    small = {name: bits for name, bits in found.items() if bits != FLOAT}
    if not small:
        raise InputError("the policy leaves every matrix as it is")
    return small


class _Rows:
    """The sum of x^T x, and the mean of the rows x that a matrix multiplies."""

    def __init__(self) -> None:
        self.gram: Real | float = 0.0
        self.total: Real | float = 0.0
        self.count = 0

    def add(self, rows: FloatArray) -> None:
        x = np.asarray(rows, np.float64)
        self.gram = self.gram + x.T @ x
        self.total = self.total + x.sum(0)
        self.count += len(x)


def _seen(
    folder: Path, config: BertConfig, wanted: Mapping[str, int], texts: Sequence[Text | Pair]
) -> dict[str, _Rows]:
    """What each matrix multiplies in the model as it is; padding is left out."""
    model, encoder = PlainBert.load(folder), TextEncoder.from_folder(folder)
    found: defaultdict[str, _Rows] = defaultdict(_Rows)
    follows = {"context": "projection", "attention_norm": "inner", "activation": "outer"}
    tokens = encoder.encode(list(texts))
    rows = 0
    for first in range(0, len(tokens), _TEXTS_A_BATCH):
        batch = encoder.pad(tokens[first : first + _TEXTS_A_BATCH])
        there = batch.mask != 0

        def observe(wire: str, value: FloatArray, there: npt.NDArray[np.bool_] = there) -> None:
            head, _, part = wire.rpartition(".")
            if part in follows:
                name = f"{head}.{follows[part]}"
            elif part == "feedforward_norm":
                name = f"layer.{int(head.rpartition('.')[2]) + 1}.qkv"
            elif wire == "embedding_norm_input":
                name = "layer.0.qkv"
                value = layer_norm(value, model.params, names.EMBEDDING_NORM, config.layer_norm_eps)
            else:
                return
            if name in wanted:
                found[name].add(value[there])

        model.forward(batch.ids, batch.mask, batch.types, observe)
        rows += int(there.sum())
        if rows >= MOST_ROWS:
            break
    return dict(found)


def _rounded(
    tensors: Mapping[str, npt.NDArray[np.float32]],
    piece: _Piece,
    weight: Real,
    bits: int,
    rows: _Rows | None,
) -> dict[str, npt.NDArray[np.float32]]:
    """The piece's weights and biases, rounded."""
    d = len(weight)
    gain = np.ones(d) if piece.norm is None else piece.norm.gain
    # Where a gain is 0 the folded weights are, and the row acts by the norm's bias alone.
    live = gain != 0
    divisor = np.where(live, gain, 1.0)
    if rows is None:
        new = nearest(weight, bits).weight
        mean = np.zeros(d) if piece.norm is None else piece.norm.bias
    else:
        scaled = np.where(live, 1 / divisor, 0.0)
        new = compensated(weight, bits, rows.gram * np.outer(scaled, scaled)).weight
        mean = np.asarray(rows.total) / rows.count
    found: dict[str, npt.NDArray[np.float32]] = {}
    start = 0
    for name, over in piece.tensors:
        old = np.asarray(tensors[name + ".weight"], np.float64).T
        columns = slice(start, start + old.shape[1])
        start += old.shape[1]
        plain = np.where(live[:, None], new[:, columns] * over / divisor[:, None], old)
        found[name + ".weight"] = np.ascontiguousarray(plain.T, np.float32)
        moved = mean @ (old - plain)
        found[name + ".bias"] = (tensors[name + ".bias"] + moved).astype(np.float32)
    return found


def _write(
    folder: Path,
    out: Path,
    config: BertConfig,
    bits: Mapping[str, int],
    changed: Mapping[str, npt.NDArray[np.float32]],
) -> None:
    raw = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    raw[SMALL_WEIGHTS] = dict(bits)
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise InputError(f"{str(out)!r} holds files already. Choose an empty folder")
        for name in COPIED:
            if (folder / name).is_file():
                (out / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(folder / name, out / name)
        stored = StoredTensors.open(folder, config, expected_shapes(config))
        stored.rewrite(out / WEIGHTS, changed)
        (out / CONFIG).write_text(json.dumps(raw, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write to {str(out)!r}: {error.strerror}") from error
    written = BertConfig.read(out)
    small_scales(written, StoredTensors.open(out, written, expected_shapes(written)))


def _range(folder: Path, out: Path, texts: Sequence[Text | Pair] | None) -> None:
    """Calibrates the new model, or keeps the old one's ranges: they have a margin for more."""
    if texts:
        calibrate(out, texts).save(out)
    elif (folder / CALIBRATION).is_file():
        known = Calibration.load(folder)
        if known.model != model_digest(folder):
            raise ModelError(f"{CALIBRATION} is of another model; calibrate again")
        msgspec.structs.replace(known, model=model_digest(out)).save(out)
