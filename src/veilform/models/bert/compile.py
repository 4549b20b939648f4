"""A checkpoint's weights as the secure program takes them: folded, scaled, rounded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from veilform import fixed, kernels
from veilform.approx import registry
from veilform.models.bert import names
from veilform.models.bert.bounds import Affine, Gain, Tensors
from veilform.models.bert.config import BertConfig
from veilform.models.bert.secure import ServerWeights
from veilform.nn.scales import CLASSIFIER, HIDDEN, WEIGHT, WORDS, Scales
from veilform.ring import Words

Real = npt.NDArray[np.float64]


def ring_arrays(
    config: BertConfig, tensors: Tensors, scales: Scales, private: bool = False
) -> Iterator[tuple[str, bool, Words]]:
    """Weights and biases by the secure program's names: (name, whether a bias, ring elements).

    Each layer norm's gain and bias are folded into what follows it: the next weights, and the
    diagonal of the residual. In public mode the first layer's input comes complete from the client.
    """
    for name, value, scale in _tensors(config, tensors, scales, private):
        yield name.removeprefix("+"), name.startswith("+"), fixed.encode(value, scale)


def server_weights(arrays: Iterable[tuple[str, bool, Words]]) -> ServerWeights:
    """Those of `ring_arrays`, each packed for the kernels as it comes and then let go."""
    weights: dict[str, object] = {}
    biases: dict[str, Words] = {}
    for name, is_bias, words in arrays:
        if is_bias:
            biases[name] = words
        else:
            weights[name] = kernels.pack(words.view(np.int64)) if words.ndim == 2 else words
    return ServerWeights(weights, biases)


def _tensors(
    config: BertConfig, tensors: Tensors, scales: Scales, private: bool
) -> Iterator[tuple[str, Real, int]]:
    """(name, value, scale); a bias has a plus before its weight's name."""
    d = config.hidden_size
    before = Gain(np.ones(d), np.zeros(d))
    if private:
        yield from _embedding(tensors, scales)
        before = Gain.read(tensors, names.EMBEDDING_NORM)
    wide = HIDDEN + WEIGHT
    for i, layer in enumerate(scales.layers):

        def affine(part: str, index: int = i) -> Affine:
            return Affine.read(tensors, names.layer(index, part))

        name = f"layer.{i}."
        q, k, v = (affine(part).after(before) for part in (names.QUERY, names.KEY, names.VALUE))
        root = math.sqrt(config.head_size)
        yield name + "qkv", np.concatenate([q.weight / root, k.weight, v.weight], axis=1), WEIGHT
        yield "+" + name + "qkv", np.concatenate([q.bias / root, k.bias, v.bias]), wide

        projection, at = affine(names.ATTENTION_OUT), layer.attention
        out = at.output + at.weight
        yield name + "projection", projection.weight, at.weight
        yield "+" + name + "projection", projection.bias + before.bias, out
        yield name + "attention_gain", before.gain, out - HIDDEN

        middle = Gain.read(tensors, names.layer(i, names.ATTENTION_NORM))
        inner, outer = affine(names.INNER).after(middle), affine(names.OUT)
        fold = registry.activation(config.activation(i)).fold
        yield name + "inner", inner.weight, WEIGHT
        yield "+" + name + "inner", inner.bias + fold.shift, wide
        scale = layer.feedforward.outer
        out = layer.feedforward.active + fold.halvings + scale
        rounded = np.rint(outer.weight * 2.0**scale) * 2.0**-scale
        yield name + "outer", rounded / 2**fold.halvings, scale + fold.halvings
        yield "+" + name + "outer", outer.bias + fold.offset * rounded.sum(0) + middle.bias, out
        yield name + "feedforward_gain", middle.gain, out - HIDDEN
        before = Gain.read(tensors, names.layer(i, names.OUT_NORM))
    yield from _head(config, tensors, before, scales.head.pool)


def _embedding(tensors: Tensors, scales: Scales) -> Iterator[tuple[str, Real, int]]:
    words, positions, types = (
        np.asarray(tensors[n], np.float64) for n in (names.WORDS, names.POSITIONS, names.TYPES)
    )
    yield "words", np.concatenate([words, types]), WORDS
    yield "+words", positions[: scales.length], WORDS


def _head(
    config: BertConfig, tensors: Tensors, before: Gain, pool: int
) -> Iterator[tuple[str, Real, int]]:
    pooled = HIDDEN + pool
    if not config.classifies:
        yield "output_gain", before.gain, CLASSIFIER
        yield "+output_gain", before.bias, pooled + CLASSIFIER
        return
    classifier = Affine.read(tensors, names.CLASSIFIER)
    if config.pooling == "cls":
        pooler = Affine.read(tensors, names.POOLER).after(before)
        yield "pooler", pooler.weight, WEIGHT
        yield "+pooler", pooler.bias, HIDDEN + WEIGHT
    else:
        classifier = classifier.after(before)
    yield "classifier", classifier.weight, CLASSIFIER
    yield "+classifier", classifier.bias, pooled + CLASSIFIER
