"""An encoder layer's linear maps as the server multiplies by them: gains folded in, unrounded."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from veilform.models.bert import names
from veilform.models.bert.bounds import Affine, Gain, Tensors
from veilform.models.bert.config import BertConfig


@dataclass(frozen=True)
class FoldedLayer:
    """One layer.

    Attributes:
        before, middle: gains and biases of the layer norms at its input and inside it.
        qkv: queries (over sqrt(head size)), keys and values, of the normalised input row.
        inner: of the normalised row inside.
    """

    before: Gain
    qkv: Affine
    projection: Affine
    middle: Gain
    inner: Affine
    outer: Affine

    def part(self, name: str) -> Affine:
        """One of ``config.SMALL_PARTS``."""
        found: Affine = getattr(self, name)
        return found


def folded(config: BertConfig, tensors: Tensors, index: int, before: Gain) -> FoldedLayer:
    """Layer ``index``, whose input row is normalised, then has gain and bias ``before``."""

    def affine(part: str) -> Affine:
        return Affine.read(tensors, names.layer(index, part))

    q, k, v = (affine(part).after(before) for part in (names.QUERY, names.KEY, names.VALUE))
    root = math.sqrt(config.head_size)
    qkv = Affine(
        np.concatenate([q.weight / root, k.weight, v.weight], axis=1),
        np.concatenate([q.bias / root, k.bias, v.bias]),
    )
    middle = Gain.read(tensors, names.layer(index, names.ATTENTION_NORM))
    return FoldedLayer(
        before, qkv, affine(names.ATTENTION_OUT), middle, affine(names.INNER).after(middle),
        affine(names.OUT),
    )  # fmt: skip


def gain_before(config: BertConfig, tensors: Tensors, index: int, private: bool) -> Gain:
    """That of a layer's input; none for the first, if its input comes complete from the client."""
    if index:
        return Gain.read(tensors, names.layer(index - 1, names.OUT_NORM))
    if private:
        return Gain.read(tensors, names.EMBEDDING_NORM)
    return Gain(np.ones(config.hidden_size), np.zeros(config.hidden_size))
