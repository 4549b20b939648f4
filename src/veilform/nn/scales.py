"""Fixed-point scales of a model's wires, as one table of whole numbers that both parties hold.

A scale is a count of fraction bits. A shift is the number of bits that an opening or a truncation
drops. Ranges are in units of the wire's integers. Everything here is public: it follows from the
architecture, the calibrated ranges, and bounds on the weights rounded up to powers of two.
"""

from __future__ import annotations

import functools
import math

import msgspec
import numpy as np

from veilform.protocol import tables

HIDDEN = 12
"""Scale of a layer's input: the normalised row."""
WEIGHT = 13
"""Scale of the weights that make queries, keys, values, and the inner feed-forward."""
WORDS = 16
"""Scale of a private embedding's rows."""
SCORE = 12
"""Scale of an attention score once truncated; its square is at twice that."""
TOLERANCE = 0.005
"""Largest relative error of a reciprocal or a root, met at the low end of its widened range alone:
it falls with the square of the input, so within the measured range it is a quarter at most."""
LOGIT = 14
"""Scale at which logits are revealed: finer bits would tell of the weights, not of the answer."""
CLASSIFIER = 14
"""Scale of the classifier's weights."""
POOL = 20
"""Scale of the client's pooling weights."""


class Window(msgspec.Struct, frozen=True):
    """The calibrated range of a look-up's input, and the bound that it never exceeds."""

    lowest: int
    highest: int
    bound: int


class NormScales(msgspec.Struct, frozen=True):
    """One layer norm.

    Attributes:
        width: d, the length of a row.
        input: scale of the row.
        centre_shift: drops bits of the centred row times d.
        epsilon: added to the sum of squares, in its units.
        sum_of_squares: window of that sum.
        rsqrt_shift: drops bits of sqrt(d / sum).
        output_shift: brings the product to scale HIDDEN.
    """

    width: int
    input: int
    centre_shift: int
    epsilon: int
    sum_of_squares: Window
    rsqrt_shift: int
    output_shift: int

    @property
    def table(self) -> tables.Table:
        """sqrt(d / x) over the window."""
        return rsqrt_table(self.width, self.sum_of_squares)


class AttentionScales(msgspec.Struct, frozen=True):
    """One attention layer.

    Attributes:
        value_shift: drops bits of the values, from HIDDEN + WEIGHT.
        mask_bits: the client's mask is round(2^mask_bits / tokens) at tokens, 0 at padding.
        denominator: window of the masked sum of squared scores.
        context_shift: drops bits of the weighted sum of values.
        reciprocal_shift: drops bits of the reciprocal of the denominator.
        output: scale of the result.
        weight: scale of the output projection's weights.
    """

    value_shift: int
    mask_bits: int
    denominator: Window
    context_shift: int
    reciprocal_shift: int
    output: int
    weight: int

    @property
    def table(self) -> tables.Table:
        """2^(2 SCORE) / x over the window: the reciprocal of the denominator as a real number."""
        return reciprocal_table(self.denominator)


class LayerScales(msgspec.Struct, frozen=True):
    """One encoder layer; ``outer`` is the scale of the outer feed-forward's weights."""

    attention: AttentionScales
    attention_norm: NormScales
    outer: int
    feedforward_norm: NormScales


class PoolerScales(msgspec.Struct, frozen=True):
    """The [CLS] pooler: tanh on [-limit, limit], in units of the wire.

    ``bound`` holds |input| + 2 limit.
    """

    limit: int
    bound: int
    shift: int

    @property
    def table(self) -> tables.Table:
        """tanh of x - 2 limit, x in units of HIDDEN + WEIGHT."""
        return tanh_table(self.limit, self.bound)


class Scales(msgspec.Struct, frozen=True):
    """All of a model's scales for one padded length. ``embedding``: if it is private."""

    length: int
    layers: tuple[LayerScales, ...]
    embedding: NormScales | None = None
    pooler: PoolerScales | None = None


@functools.lru_cache(maxsize=256)
def rsqrt_table(width: int, window: Window) -> tables.Table:
    """sqrt(width / x)."""
    root = math.sqrt(width)
    return tables.fit(
        lambda x: root / x**0.5, window.lowest, window.highest, window.bound, tolerance=TOLERANCE
    )


@functools.lru_cache(maxsize=256)
def reciprocal_table(window: Window) -> tables.Table:
    """2^(2 SCORE) / x."""
    top = 2.0 ** (2 * SCORE)
    return tables.fit(
        lambda x: top / x, window.lowest, window.highest, window.bound, tolerance=TOLERANCE
    )


@functools.lru_cache(maxsize=64)
def tanh_table(limit: int, bound: int) -> tables.Table:
    """tanh((x - 2 limit) / 2^(HIDDEN + WEIGHT)) for x in [limit, 3 limit], to an absolute 2^-11."""
    unit = 2.0 ** -(HIDDEN + WEIGHT)
    return tables.fit(
        lambda x: np.tanh((x - 2 * limit) * unit),
        limit,
        3 * limit,
        bound,
        tolerance=2.0**-11,
        magnitude=1.0,
    )
