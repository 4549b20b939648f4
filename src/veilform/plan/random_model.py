"""Writes a checkpoint of random weights that can be served, with its calibration.

Plain draws of N(0, 0.02^2) leave every attention score near zero and every row alike, so each
look-up's window would be a sliver. The weights are drawn so that scores spread over about one unit
and rows differ in length, as in the shipped student: then the look-ups have its sizes, too.
"""

from __future__ import annotations

import json
import math
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from veilform.errors import InputError
from veilform.models.bert import names
from veilform.models.bert.calibrate import calibrate
from veilform.models.bert.quantize import quantize
from veilform.models.bert.sides import ServerSide
from veilform.models.checkpoint import CONFIG, TOKENIZER, WEIGHTS
from veilform.models.text import bucket
from veilform.plan.presets import POSITIONS, VOCABULARY, ModelShape

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
CALIBRATION_TOKENS = 2048
"""Of all calibration texts together, but for a minimum of texts."""
LEAST_TEXTS = 3

Float32 = npt.NDArray[np.float32]


def write_model(
    folder: Path,
    shape: ModelShape,
    seq: int,
    seed: int = 0,
    progress: Callable[[str], None] = lambda step: None,
) -> None:
    """Writes config, weights, tokenizer and calibration into the new folder ``folder``.

    Args:
        seq: tokens of each calibration text, [CLS] and [SEP] included, 3 to 512.
        progress: told what is being done.

    Raises:
        InputError: ``seq`` is out of range.
    """
    _check(seq)
    if shape.weights:
        with tempfile.TemporaryDirectory(prefix="veilform-plan-") as temporary:
            unrounded = Path(temporary) / "model"
            write_model(unrounded, shape.with_weights(0), seq, seed, progress)
            progress("rounding the weights")
            quantize(unrounded, folder, [("*", shape.weights)])
        return
    folder.mkdir(parents=True)
    (folder / CONFIG).write_text(json.dumps(shape.config(), indent=1), encoding="utf-8")
    tokenizer().save(str(folder / TOKENIZER))
    progress("drawing random weights")
    rng = np.random.default_rng(seed)
    shapes = shape.tensor_shapes()
    write_tensors(folder / WEIGHTS, shapes, (_draw(rng, name, s) for name, s in shapes.items()))
    progress("calibrating on random texts")
    count = max(LEAST_TEXTS, CALIBRATION_TOKENS // bucket(seq))
    texts = random_texts(count, seq, seed + 1)
    calibrate(folder, texts).save(folder)


def random_side(
    shape: ModelShape, seq: int, progress: Callable[[str], None] = lambda step: None
) -> ServerSide:
    """A random model of a shape as its server holds it: for costs before there is a checkpoint."""
    with tempfile.TemporaryDirectory(prefix="veilform-plan-") as temporary:
        write_model(Path(temporary) / "model", shape, seq, progress=progress)
        return ServerSide(Path(temporary) / "model")


def random_texts(count: int, seq: int, seed: int) -> list[str]:
    """Texts of ``seq`` tokens each, [CLS] and [SEP] included, for :func:`tokenizer`.

    Raises:
        InputError: ``seq`` is out of range.
    """
    _check(seq)
    rng = np.random.default_rng(seed)
    words = rng.integers(0, VOCABULARY - len(SPECIAL), (count, seq - 2))
    return [" ".join(f"w{word}" for word in row) for row in words]


def tokenizer() -> Tokenizer:
    """One token a word; the words are w0, w1, ..."""
    words = [f"w{i}" for i in range(VOCABULARY - len(SPECIAL))]
    vocabulary = {token: i for i, token in enumerate((*SPECIAL, *words))}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106 - no password
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.add_special_tokens(list(SPECIAL))
    return made


def write_tensors(
    path: Path, shapes: Mapping[str, tuple[int, ...]], tensors: Iterator[Float32]
) -> None:
    """A safetensors file of float32 tensors, in the order of ``shapes``, one at a time."""
    header: dict[str, object] = {}
    offset = 0
    for name, shape in shapes.items():
        span = (offset, offset + 4 * math.prod(shape))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": span}
        offset = span[1]
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for tensor in tensors:
            file.write(np.ascontiguousarray(tensor, "<f4").data)


def _draw(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> Float32:
    """One tensor: gains around one, small biases, matrices that keep a row's length."""

    def normal(scale: float) -> Float32:
        drawn = rng.standard_normal(shape, np.float32)
        drawn *= np.float32(scale)
        return drawn

    if name in (names.WORDS, names.POSITIONS, names.TYPES):
        return normal(0.5 if name == names.WORDS else 0.1)
    if name.endswith("LayerNorm.weight"):
        return rng.uniform(0.7, 1.3, shape).astype(np.float32)
    if name.endswith(".bias"):
        return normal(0.1)
    root = math.sqrt(shape[1])
    if name.startswith(names.CLASSIFIER):
        return normal(2 / root)
    if names.QUERY in name or names.KEY in name:
        return normal(0.8 / root)
    return normal(0.6 / root)


def _check(seq: int) -> None:
    if not 3 <= seq <= POSITIONS:
        raise InputError(f"a text has 3 to {POSITIONS} tokens, [CLS] and [SEP] included; not {seq}")
