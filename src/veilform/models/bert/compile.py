"""A checkpoint's weights as the secure program takes them: folded, scaled, rounded."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator

import numpy as np
import numpy.typing as npt

from veilform import fixed, kernels
from veilform.approx import registry
from veilform.models.bert import names
from veilform.models.bert.bounds import Affine, Gain, Tensors
from veilform.models.bert.config import BertConfig
from veilform.models.bert.folding import folded, gain_before
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


def server_weights(
    arrays: Iterable[tuple[str, bool, Words]], small: Container[str] = ()
) -> ServerWeights:
    """Those of `ring_arrays`, each packed for the kernels as it comes and then let go.

    Args:
        small: names of the matrices of small integers.
    """
    weights: dict[str, object] = {}
    biases: dict[str, Words] = {}
    for name, is_bias, words in arrays:
        if is_bias:
            biases[name] = words
        else:
            pack = kernels.pack_small if name in small else kernels.pack
            weights[name] = pack(words.view(np.int64)) if words.ndim == 2 else words
    return ServerWeights(weights, biases)


def _tensors(
    config: BertConfig, tensors: Tensors, scales: Scales, private: bool
) -> Iterator[tuple[str, Real, int]]:
    """(name, value, scale); a bias has a plus before its weight's name."""
    if private:
        yield from _embedding(tensors, scales)
    for i, layer in enumerate(scales.layers):
        name, hidden = f"layer.{i}.", layer.hidden
        of = folded(config, tensors, i, gain_before(config, tensors, i, private))
        at = layer.attention
        yield name + "qkv", of.qkv.weight, at.entry
        yield "+" + name + "qkv", of.qkv.bias, hidden + at.entry

        out = at.output + at.weight
        yield name + "projection", of.projection.weight, at.weight
        yield "+" + name + "projection", of.projection.bias + of.before.bias, out
        yield name + "attention_gain", of.before.gain, out - hidden

        fold = registry.activation(config.activation(i)).fold
        forward = layer.feedforward
        yield name + "inner", of.inner.weight, forward.entry
        yield "+" + name + "inner", of.inner.bias + fold.shift, hidden + forward.entry
        scale, outer = forward.outer, of.outer
        out = forward.active + fold.halvings + scale
        rounded = np.rint(outer.weight * 2.0**scale) * 2.0**-scale
        yield name + "outer", rounded / 2**fold.halvings, scale + fold.halvings
        bias = outer.bias + fold.offset * rounded.sum(0) + of.middle.bias
        yield "+" + name + "outer", bias, out
        yield name + "feedforward_gain", of.middle.gain, out - hidden
    before = gain_before(config, tensors, len(scales.layers), private)
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
