"""Closer bounds on a layer's wires, for plans in which each bit of a ring counts.

`bounds.layer_bounds` multiplies norms along the way. Here products of neighbouring matrices are
bounded as one, and a layer norm's input by its elements less their mean, which is what the secure
run computes. In a feed-forward block whose function is a square, an element is a quadratic form in
the normalised row u: with y = u A + b and weights w,

    sum_i w_i y_i^2 = u (A diag(w) A^T) u^T + 2 u A (w b) + sum_i w_i b_i^2,

and the matrix's Frobenius norm, which bounds the first term over |u|^2, is the root of w H w^T with
H the squares of the elements of A^T A.

Such a bound is small where terms cancel, but what rounding adds does not cancel: it grows with the
terms. So beside each stands what the terms amount to uncancelled, ROUNDING of it, and a unit of
every value that is multiplied.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from veilform.approx import registry
from veilform.approx.entry import Activation, Reach
from veilform.models.bert import names
from veilform.models.bert.bounds import SLACK, Affine, Gain, LayerBounds, Real, Tensors
from veilform.models.bert.config import BertConfig

ROUNDING = 2.0**-7
"""Relative errors of a layer's wires together: rows have nine fraction bits (2 x 2^-9 in a square
or a product of two), a quotient and a reciprocal root their tables' tolerance."""
UNIT = 2.0**-8
"""Of queries, keys, values and activations: the coarsest scale that a plan gives them."""


def closer(
    config: BertConfig, tensors: Tensors, index: int, before: Gain, bounds: LayerBounds
) -> LayerBounds:
    """The smaller of these and ``bounds``, which are layer ``index``'s with the same ``before``."""

    def affine(part: str) -> Affine:
        return Affine.read(tensors, names.layer(index, part))

    q, k, v = (affine(part).after(before) for part in (names.QUERY, names.KEY, names.VALUE))
    size = config.head_size
    heads = [(i, i + size) for i in range(0, config.hidden_size, size)]
    offset = abs(registry.attention(config.attention(index)).offset)
    scores = max(_scores(q.columns(*cut), k.columns(*cut)) for cut in heads)

    middle = Gain.read(tensors, names.layer(index, names.ATTENTION_NORM))
    attended = _attended(v, affine(names.ATTENTION_OUT), heads, before)
    inner, outer = affine(names.INNER).after(middle), affine(names.OUT)
    forward = _forward(registry.activation(config.activation(index)), inner, outer, middle)
    return msgspec.structs.replace(
        bounds,
        scores=min(bounds.scores, SLACK * scores + offset),
        attention_row=min(bounds.attention_row, SLACK * float(np.linalg.norm(attended))),
        attention_element=SLACK * float(attended.max()),
        feedforward_row=min(bounds.feedforward_row, SLACK * float(np.linalg.norm(forward))),
        feedforward_element=SLACK * float(forward.max()),
    )


def _scores(q: Affine, k: Affine) -> float:
    """Bound on q k / sqrt(head size) of one head, for two normalised rows."""
    d, size = q.weight.shape
    root = math.sqrt(d)
    # The largest singular value of A B^T is the root of the largest eigenvalue of A^T A B^T B.
    values, vectors = np.linalg.eigh(q.weight.T @ q.weight)
    half = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    square = float(np.linalg.eigvalsh(half @ (k.weight.T @ k.weight) @ half).max())
    mixed = np.linalg.norm(q.weight @ k.bias) + np.linalg.norm(k.weight @ q.bias)
    whole = d * math.sqrt(max(square, 0.0)) + root * float(mixed) + abs(float(q.bias @ k.bias))
    lengths = q.length(root), k.length(root)
    rounded = ROUNDING * lengths[0] * lengths[1] + UNIT * math.sqrt(size) * sum(lengths)
    return (whole + rounded) / math.sqrt(size)


def _centred(x: Real) -> Real:
    """Less the mean over the outputs."""
    found: Real = x - x.mean(-1, keepdims=True)
    return found


def _residual(gain: Real) -> Real:
    """Bounds on each element of gain u less their mean."""
    d = len(gain)
    squares = gain**2 * (1 - 2 / d) + (gain @ gain) / d**2
    found: Real = np.sqrt(np.maximum(squares, 0) * d)
    return found


def _attended(v: Affine, out: Affine, heads: list[tuple[int, int]], before: Gain) -> Real:
    """Bounds on each element of the row that the layer norm after attention takes, less its mean.

    A head's output is a convex combination of its value rows.
    """
    weight = _centred(out.weight)
    root = math.sqrt(len(weight))
    reach = sum(
        np.linalg.norm(v.weight[:, start:stop] @ weight[start:stop], axis=0)
        for start, stop in heads
    )
    constant = v.bias @ weight + _centred(out.bias + before.bias)
    terms = sum(
        v.columns(start, stop).length(root) * np.linalg.norm(weight[start:stop], axis=0)
        for start, stop in heads
    )
    rounded = ROUNDING * terms + UNIT * np.abs(weight).sum(0)
    found: Real = root * reach + np.abs(constant) + rounded + _residual(before.gain)
    return found


def _forward(activation: Activation, inner: Affine, outer: Affine, middle: Gain) -> Real:
    """The same of the row that the layer norm after the feed-forward block takes."""
    fold = activation.fold
    shifted = inner.bias + fold.shift
    weight = _centred(outer.weight) / 2**fold.halvings
    d = len(inner.weight)
    root = math.sqrt(d)
    bias = _centred(outer.bias + fold.offset * outer.weight.sum(0) + middle.bias)
    own = Affine(inner.weight, shifted)
    reach = activation.reach(Reach(own.element(root), own.length(root)))
    lengths = np.linalg.norm(weight, axis=0)
    plain = lengths * reach.length + np.abs(bias)
    if activation.square:
        gram = (inner.weight.T @ inner.weight) ** 2
        form = d * np.sqrt(np.maximum((weight * (gram @ weight)).sum(0), 0))
        mixed = 2 * root * np.linalg.norm(inner.weight @ (weight * shifted[:, None]), axis=0)
        rounded = ROUNDING * lengths * (reach.length + own.length(root))
        rounded += UNIT * np.abs(weight).sum(0)
        constant = np.abs(shifted**2 @ weight + bias)
        plain = np.minimum(plain, form + mixed + constant + rounded)
    found: Real = plain + _residual(middle.gain)
    return found
