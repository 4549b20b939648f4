"""Chooses every wire's scale, from calibrated ranges and from what the wires can never exceed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from veilform.errors import ModelError
from veilform.fixed import LIMIT_BITS
from veilform.models.bert import names
from veilform.models.bert.bounds import SLACK, Affine, Gain, LayerBounds, Tensors, layer_bounds
from veilform.models.bert.calibration import Calibration, LayerCalibration, Range
from veilform.models.bert.config import BertConfig
from veilform.models.bert.secure import logit_shift
from veilform.nn.scales import (
    HIDDEN,
    LOGIT,
    SCORE,
    WEIGHT,
    WORDS,
    AttentionScales,
    LayerScales,
    NormScales,
    PoolerScales,
    Scales,
    Window,
    reciprocal_table,
    rsqrt_table,
)
from veilform.protocol.tables import Table

MARGIN = 2.0
"""A range is widened by this factor either way: texts beyond the calibration's are served too."""
FINE = 11
"""Significant bits that the coarsest of a kind of value keeps."""
WEIGHT_BITS = (10, 14)
"""Fewest and most fraction bits of the weights whose scale is free."""


def plan_scales(
    config: BertConfig,
    tensors: Tensors,
    calibration: Calibration,
    length: int,
    private: bool = False,
) -> Scales:
    """The scale table of a model for texts padded to ``length``; see :func:`plan_lengths`."""
    return plan_lengths(config, tensors, calibration, [length], private)[0]


def plan_lengths(
    config: BertConfig,
    tensors: Tensors,
    calibration: Calibration,
    lengths: Sequence[int],
    private: bool = False,
) -> tuple[Scales, ...]:
    """The scale tables of a model, one a padded length; only the denominators' windows differ.

    Args:
        private: whether the look-up of words is secure too.

    Raises:
        ModelError: when a wire cannot be bounded within the ring; it says which.
    """
    gains = [Gain.read(tensors, names.EMBEDDING_NORM)]
    gains += [
        Gain.read(tensors, names.layer(i, names.OUT_NORM)) for i in range(config.num_hidden_layers)
    ]
    bounds = [layer_bounds(config, tensors, i, gains[i]) for i in range(config.num_hidden_layers)]
    embedding = None
    if private:
        row = _embedding_row(tensors)
        embedding = _norm(config, row, calibration.embedding_variance.whole, WORDS)
    pooler = _pooler(config, tensors, calibration, gains[-1])
    _check_classifier(config, tensors, gains[-1])
    planned = []
    for length in lengths:
        layers = []
        for i, (bound, measured) in enumerate(zip(bounds, calibration.layers, strict=True)):
            try:
                layers.append(_layer(config, bound, measured, length))
            except ModelError as error:
                raise ModelError(f"layer {i}: {error}") from None
        planned.append(Scales(length, tuple(layers), embedding, pooler))
    return tuple(planned)


def _layer(
    config: BertConfig, bounds: LayerBounds, measured: LayerCalibration, length: int
) -> LayerScales:
    _fits("the values", bounds.values, HIDDEN + WEIGHT)
    _fits("the inner feed-forward", bounds.inner, HIDDEN + WEIGHT)
    attention = _attention(config, bounds, measured.denominator.whole, length)
    # Squares at 2 HIDDEN times weights / 8 at scale outer + 3.
    outer = _weight_scale(config, bounds.feedforward_row, 2 * HIDDEN + 3)
    return LayerScales(
        attention,
        _norm(
            config,
            bounds.attention_row,
            measured.attention_variance.whole,
            attention.output + attention.weight,
        ),
        outer,
        _norm(
            config,
            bounds.feedforward_row,
            measured.feedforward_variance.whole,
            2 * HIDDEN + 3 + outer,
        ),
    )


def _attention(
    config: BertConfig, bounds: LayerBounds, measured: Range, length: int
) -> AttentionScales:
    _fits("the attention scores", bounds.scores, 2 * (HIDDEN + WEIGHT))
    mask_bits = (length - 1).bit_length() + 3
    # Rounding the mask moves the sum of its elements by at most 1 / 16.
    unit = 2.0 ** (2 * SCORE + mask_bits)
    low, high = _widened(measured)
    lowest, highest = low * (15 / 16) * unit, high * (17 / 16) * unit
    bound = bounds.scores**2 * (17 / 16) * unit
    window = _window(lowest, highest, bound)
    table = reciprocal_table(window)

    # The weighted sum of values is at most the denominator times the largest value.
    value_scale = min(2 * HIDDEN - 1, int(LIMIT_BITS - 1 - math.log2(highest * bounds.values)))
    value_scale = min(value_scale, HIDDEN)
    if value_scale < HIDDEN - 4:
        raise ModelError("the values are too large for their scale; distil with a smaller range")
    low_bits, high_bits = (math.log2(end / 2.0 ** (2 * SCORE)) for end in (lowest, highest))
    # It may be negative. The sum of both scales does not depend on the length, so neither do the
    # weights.
    context_scale = math.ceil(HIDDEN - 1 - low_bits)
    reciprocal_scale = math.ceil(FINE + high_bits)
    output = context_scale + reciprocal_scale
    return AttentionScales(
        value_shift=HIDDEN + WEIGHT - value_scale,
        mask_bits=mask_bits,
        denominator=window,
        context_shift=2 * SCORE + value_scale - context_scale,
        reciprocal_shift=_shift(table, reciprocal_scale),
        output=output,
        weight=_weight_scale(config, bounds.attention_row, output),
    )


def _norm(config: BertConfig, row: float, variance: Range, scale: int) -> NormScales:
    """Scales of a layer norm whose input row, of length ``row`` at most, is at ``scale``."""
    d = config.hidden_size
    _fits("a layer norm's input", d * row, scale)
    lowest, highest = _widened(variance)
    # One unit of the centred row is 2^-fine of the smallest standard deviation.
    unit = (FINE + 1) - math.log2(math.sqrt(max(lowest, 1e-9)))
    centre_shift = max(1, math.floor(scale + math.log2(d) - unit))
    factor = d * 2.0 ** (scale - centre_shift)
    epsilon = config.layer_norm_eps
    squares = d * factor**2
    window = _window(
        (lowest + epsilon) * squares,
        (highest + epsilon) * squares,
        (row**2 + d * epsilon) * factor**2,
    )
    table = rsqrt_table(d, window)
    root_scale = math.ceil(FINE + math.log2(math.sqrt(highest) * factor))
    output_shift = root_scale - HIDDEN
    if output_shift < 1:
        root_scale, output_shift = HIDDEN + 1, 1
    return NormScales(
        width=d,
        input=scale,
        centre_shift=centre_shift,
        epsilon=round(epsilon * squares),
        sum_of_squares=window,
        rsqrt_shift=_shift(table, root_scale),
        output_shift=output_shift,
    )


def _pooler(
    config: BertConfig, tensors: Tensors, calibration: Calibration, before: Gain
) -> PoolerScales | None:
    if config.pooling != "cls" or calibration.pooler is None:
        return None
    unit = 2.0 ** (HIDDEN + WEIGHT)
    largest = max(abs(calibration.pooler.low), abs(calibration.pooler.high))
    _, reach = _widened(Range(0.0, largest))
    dense = Affine.read(tensors, names.POOLER).after(before)
    limit = _ceil(reach * unit)
    element = SLACK * dense.element(math.sqrt(config.hidden_size)) * unit
    scales = PoolerScales(limit, _power(element + 3 * limit), 0)
    return PoolerScales(limit, scales.bound, _shift(scales.table, HIDDEN))


def _check_classifier(config: BertConfig, tensors: Tensors, before: Gain) -> None:
    """The logits before truncation. A pooled row is no longer than the rows it comes from."""
    classifier = Affine.read(tensors, names.CLASSIFIER)
    if config.pooling == "mean":
        classifier = classifier.after(before)
    largest = SLACK * classifier.element(math.sqrt(config.hidden_size))
    _fits("a logit", largest, LOGIT + logit_shift(config))


def _embedding_row(tensors: Tensors) -> float:
    """Bound on the length of word + position + type."""
    tables = (names.WORDS, names.POSITIONS, names.TYPES)
    return float(sum(np.linalg.norm(tensors[name], axis=1).max() for name in tables))


def _weight_scale(config: BertConfig, row: float, base: int) -> int:
    """The finest scale of weights at which a row of that length, times d, fits the ring."""
    room = LIMIT_BITS - math.log2(config.hidden_size * row) - base
    scale = min(WEIGHT_BITS[1], math.floor(room - 1e-9))
    if scale < WEIGHT_BITS[0]:
        raise ModelError(
            f"a layer norm's input may reach {row:.3g}, which leaves its weights {scale} fraction "
            f"bits; at least {WEIGHT_BITS[0]} are needed. Distil with a smaller range"
        )
    return scale


def _shift(table: Table, scale: int) -> int:
    """Bits to drop from a table's output to reach ``scale``."""
    shift = table.scale - scale
    if shift < 1:
        raise ModelError("a look-up's range is too wide for its scale; distil with a smaller range")
    return shift


def _fits(what: str, bound: float, scale: int) -> None:
    if bound * 2.0**scale >= 2.0**LIMIT_BITS:
        raise ModelError(f"{what} may reach {bound:.3g}, too large for a scale of {scale} bits")


def _window(lowest: float, highest: float, bound: float) -> Window:
    """A calibrated range with its margins, cut where the weights let no value go."""
    limit = _power(bound)
    window = Window(_floor(lowest), min(_ceil(highest), limit), limit)
    if window.lowest >= window.highest:
        raise ModelError("a calibrated range is beyond what the weights allow; calibrate again")
    return window


def _widened(measured: Range) -> tuple[float, float]:
    """A range with its margins, rounded outwards to five significant bits.

    The scale table is public: it need not tell an extreme value of the owner's texts exactly.
    """
    low, low_exponent = math.frexp(measured.low / MARGIN)
    high, high_exponent = math.frexp(measured.high * MARGIN)
    return (
        math.ldexp(math.floor(low * 32), low_exponent - 5),
        math.ldexp(math.ceil(high * 32), high_exponent - 5),
    )


def _floor(x: float) -> int:
    return max(1, math.floor(x))


def _ceil(x: float) -> int:
    return math.ceil(x)


def _power(x: float) -> int:
    """The next power of two: a bound need not tell the weights' norms."""
    return 1 << math.ceil(math.log2(x))
