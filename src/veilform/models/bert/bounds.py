"""What no wire can exceed, whatever the input: from norms of weights and of a normalised row.

A layer norm's row, before gain and bias, has length sqrt(d) at most. So every wire up to the next
layer norm is bounded by norms of the weights, as long as the look-ups on the way were in range,
which the run checks.
Together they mean: an answer whose flag is 0 has no overflow anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from veilform.approx import registry
from veilform.approx.entry import Reach
from veilform.models.bert import names
from veilform.models.bert.config import BertConfig

Real = npt.NDArray[np.float64]
Tensors = Mapping[str, npt.NDArray[np.float32]]

SLACK = 1.02
"""For the rounding of weights and activations to fixed point."""


@dataclass(frozen=True)
class Affine:
    """x W + b with W (in, out)."""

    weight: Real
    bias: Real

    @classmethod
    def read(cls, tensors: Tensors, name: str) -> Affine:
        """From a checkpoint, where W is stored (out, in)."""
        weight = np.asarray(tensors[name + ".weight"], np.float64).T
        return cls(np.ascontiguousarray(weight), np.asarray(tensors[name + ".bias"], np.float64))

    def after(self, norm: Gain) -> Affine:
        """The same with a layer norm's gain and bias folded in: for a normalised row."""
        return Affine(norm.gain[:, None] * self.weight, norm.bias @ self.weight + self.bias)

    @property
    def norm(self) -> float:
        """Bound on the largest singular value of W, at most 6 % above it.

        For G = W^T W and any n, the largest eigenvalue of G is at most ||G^n||^(1/n) in Frobenius
        norm. Squaring G gives n = 2, 4, ..., 32.
        """
        tall = self.weight.shape[0] > self.weight.shape[1]
        gram = self.weight.T @ self.weight if tall else self.weight @ self.weight.T
        logarithm, power = 0.0, 1
        for _ in range(6):
            size = float(np.linalg.norm(gram))
            if size == 0:
                return 0.0
            logarithm += math.log(size) / power
            gram = gram / size
            gram, power = gram @ gram, 2 * power
        return math.exp(logarithm / 2)

    def length(self, of_input: float) -> float:
        """Bound on the length of the output row."""
        return self.norm * of_input + float(np.linalg.norm(self.bias))

    def element(self, of_input: float) -> float:
        """Bound on any element of the output row."""
        return float((np.linalg.norm(self.weight, axis=0) * of_input + np.abs(self.bias)).max())

    def columns(self, start: int, stop: int) -> Affine:
        """Some outputs only."""
        return Affine(self.weight[:, start:stop], self.bias[start:stop])


@dataclass(frozen=True)
class Gain:
    """A layer norm's gain and bias."""

    gain: Real
    bias: Real

    @classmethod
    def read(cls, tensors: Tensors, name: str) -> Gain:
        """From a checkpoint."""
        gain, bias = (
            np.asarray(tensors[f"{name}.{part}"], np.float64) for part in ("weight", "bias")
        )
        return cls(gain, bias)

    def length(self) -> float:
        """Bound on the length of gain x + bias for a normalised x."""
        d = len(self.gain)
        return float(np.abs(self.gain).max()) * math.sqrt(d) + float(np.linalg.norm(self.bias))


class LayerBounds(msgspec.Struct, frozen=True):
    """Bounds on a layer's wires, as real numbers.

    Attributes:
        scores: |q k / sqrt(head size)| and the attention's offset.
        values: an element of v.
        attention_row, feedforward_row: length of a layer norm's input row.
        inner: an element of the inner feed-forward and the activation's shift.
        attention_element, feedforward_element: an element of such a row less the row's mean, if a
            closer bound than the row's length is known.
    """

    scores: float
    values: float
    attention_row: float
    inner: float
    feedforward_row: float
    attention_element: float = math.inf
    feedforward_element: float = math.inf

    @property
    def attention_centred(self) -> float:
        """An element of the row that the layer norm after attention takes, less the row's mean."""
        return min(self.attention_row, self.attention_element)

    @property
    def feedforward_centred(self) -> float:
        """The same after the feed-forward block."""
        return min(self.feedforward_row, self.feedforward_element)


def layer_bounds(config: BertConfig, tensors: Tensors, index: int, before: Gain) -> LayerBounds:
    """Bounds of layer ``index``; its input row is normalised, then has gain and bias ``before``."""

    def affine(part: str) -> Affine:
        return Affine.read(tensors, names.layer(index, part))

    root, size = math.sqrt(config.hidden_size), config.head_size
    q, k, v = (affine(part).after(before) for part in (names.QUERY, names.KEY, names.VALUE))
    heads = [(i, i + size) for i in range(0, config.hidden_size, size)]
    scores = max(
        q.columns(*cut).length(root) * k.columns(*cut).length(root) / math.sqrt(size)
        for cut in heads
    )
    # A head's output is a convex combination of its value rows.
    context = math.sqrt(sum(v.columns(*cut).length(root) ** 2 for cut in heads))
    attention_row = affine(names.ATTENTION_OUT).length(context) + before.length()

    middle = Gain.read(tensors, names.layer(index, names.ATTENTION_NORM))
    inner = affine(names.INNER).after(middle)
    activation = registry.activation(config.activation(index))
    fold = activation.fold
    inner = Affine(inner.weight, inner.bias + fold.shift)
    outer = affine(names.OUT)
    reach = activation.reach(Reach(inner.element(root), inner.length(root)))
    bias = outer.bias + fold.offset * outer.weight.sum(0)
    grown = outer.norm / 2**fold.halvings * reach.length
    feedforward_row = grown + float(np.linalg.norm(bias)) + middle.length()
    offset = registry.attention(config.attention(index)).offset
    return LayerBounds(
        scores=SLACK * scores + abs(offset),
        values=SLACK * v.element(root),
        attention_row=SLACK * attention_row,
        inner=SLACK * inner.element(root),
        feedforward_row=SLACK * feedforward_row,
    )
