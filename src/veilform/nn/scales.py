"""Fixed-point scales of a model's wires, as one table of whole numbers that both parties hold.

A scale is a count of fraction bits. A shift is a number of bits that are dropped. A ring is given
by its bits. Ranges are in units of the wire's integers. Everything here is public: it follows from
the architecture, the calibrated ranges, and bounds on the weights rounded up to powers of two.
"""

from __future__ import annotations

import functools
import math

import msgspec

from veilform.protocol import tables

HIDDEN = 12
"""Scale of a normalised row, unless a layer's weights are small integers: see `LayerScales`."""
WEIGHT = 13
"""Scale of the weights that make queries, keys, values, and the inner feed-forward, likewise."""
WORDS = 16
"""Scale of a private embedding's rows."""
SCORE = 10
"""Scale of an attention score once bits are dropped."""
RECIPROCAL_TOLERANCE, ROOT_TOLERANCE = 0.002, 0.0005
"""Largest relative errors of a denominator's reciprocal and of a reciprocal root. There are as many
denominators as attention rows, so they take the coarser one."""
LOGIT = 14
"""Scale at which logits are revealed: finer bits would tell of the weights, not of the answer."""
CLASSIFIER = 14
"""Scale of the classifier's weights."""
POOL = 20
"""Finest scale of the client's pooling weights."""


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
        ring: bits of the row's ring, which holds d times the row.
        centre_shift: drops bits of the centred row times d.
        centred: bits of its ring then.
        epsilon: added to the sum of squares, in its units.
        sum_of_squares: window of that sum.
        root_shift: drops bits of sqrt(d / sum).
        root: bits of its ring then.
        output_shift: brings the product to the scale of a normalised row.
        output: bits of the result's ring.
    """

    width: int
    input: int
    ring: int
    centre_shift: int
    centred: int
    epsilon: int
    sum_of_squares: Window
    root_shift: int
    root: int
    output_shift: int
    output: int

    @property
    def table(self) -> tables.Table:
        """sqrt(d / x) over the window."""
        return rsqrt_table(self.width, self.sum_of_squares)


class DivisionScales(msgspec.Struct, frozen=True):
    """The weighted sum of values over the sum of the weights' numerators.

    Attributes:
        epsilon: added to the denominator, in its units.
        denominator: window of the masked sum of numerators.
        numerator: scale of the numerators.
        context_shift: drops bits of the weighted sum of values.
        context: ring of it then.
        reciprocal_shift: drops bits of the reciprocal of the denominator.
        reciprocal: ring of it then.
    """

    epsilon: int
    denominator: Window
    numerator: int
    context_shift: int
    context: int
    reciprocal_shift: int
    reciprocal: int

    def table(self, ring: int) -> tables.Table:
        """2^numerator / x over the window: the reciprocal of the denominator as a real number."""
        return reciprocal_table(self.denominator, self.numerator, ring)


class AttentionScales(msgspec.Struct, frozen=True, omit_defaults=True):
    """One attention layer. Rings are given by their bits.

    Attributes:
        length: keys of a row.
        qkv: ring of queries, keys and values as they leave their linear layer.
        query_shift: drops bits of queries and keys.
        score_shift: drops bits of the scores.
        bound: |score| <= 2^bound.
        score: ring of the scores once bits are dropped.
        numerator: scale of the numerators, or of the weights of an attention without a division.
        value_shift: drops bits of the values as they leave their linear layer.
        value: ring of the values then.
        weighted: ring of numerators and masked values, of their products, and of the denominator.
        mask_bits: the client's mask is round(2^mask_bits / tokens) at tokens, 0 at padding.
        division: None for an attention without one.
        output_shift: drops bits of the context, over the denominator if there is one.
        output: scale of the result.
        projected: ring of the result, and of the output projection.
        weight: scale of the output projection's weights.
        entry: scale of the weights that make queries, keys and values.
    """

    length: int
    qkv: int
    query_shift: int
    score_shift: int
    bound: int
    score: int
    numerator: int
    value_shift: int
    value: int
    weighted: int
    mask_bits: int
    division: DivisionScales | None
    output_shift: int
    output: int
    projected: int
    weight: int
    entry: int = WEIGHT


class FeedForwardScales(msgspec.Struct, frozen=True, omit_defaults=True):
    """One feed-forward block.

    Attributes:
        bound: |x| <= 2^bound for an inner element x.
        inner: bits of the ring of the inner elements, at scale ``source``.
        active: scale of what the activation makes of them.
        outer: scale of the outer weights.
        output: bits of the ring of that, and of what the outer weights make of it.
        source: scale of the input row and of the inner elements.
        entry: scale of the weights that make them.
    """

    bound: int
    inner: int
    active: int
    outer: int
    output: int
    source: int = HIDDEN
    entry: int = WEIGHT


class LayerScales(msgspec.Struct, frozen=True):
    """One encoder layer."""

    attention: AttentionScales
    attention_norm: NormScales
    feedforward: FeedForwardScales
    feedforward_norm: NormScales

    @property
    def hidden(self) -> int:
        """Scale of the input row, and of the normalised row inside.

        Weights of small integers are rounded far more than a row at HIDDEN: a layer of them has
        rows of fewer bits.
        """
        return self.feedforward.source


class HeadScales(msgspec.Struct, frozen=True):
    """Pooling and classifier.

    Attributes:
        pool: scale of the client's pooling weights round(2^pool / tokens); 0 with a [CLS] pooler.
        ring: bits of the ring of the pooled row, and of the classifier's output.
        shift: drops bits of that, down to scale LOGIT.
    """

    pool: int
    ring: int
    shift: int


class Scales(msgspec.Struct, frozen=True):
    """All of a model's scales for one padded length.

    Attributes:
        input: bits of the ring in which the client's rows enter.
        embedding: if it is private.
        pooler: of a [CLS] pooling, whose dense layer and activation are a feed-forward block's.
    """

    length: int
    input: int
    layers: tuple[LayerScales, ...]
    head: HeadScales
    embedding: NormScales | None = None
    pooler: FeedForwardScales | None = None

    @property
    def mask(self) -> int:
        """Bits of the ring of the client's padding mask."""
        return max(layer.attention.weighted for layer in self.layers)


@functools.lru_cache(maxsize=256)
def rsqrt_table(width: int, window: Window) -> tables.Table:
    """sqrt(width / x)."""
    root = math.sqrt(width)
    return tables.fit(
        lambda x: root / x**0.5,
        window.lowest,
        window.highest,
        window.bound,
        tolerance=ROOT_TOLERANCE,
    )


@functools.lru_cache(maxsize=256)
def reciprocal_table(window: Window, numerator: int, ring: int) -> tables.Table:
    """2^numerator / x."""
    top = 2.0**numerator
    return tables.fit(
        lambda x: top / x,
        window.lowest,
        window.highest,
        window.bound,
        tolerance=RECIPROCAL_TOLERANCE,
        ring=ring,
    )
