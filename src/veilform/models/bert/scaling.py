"""Chooses every wire's scale and ring, from calibrated ranges and from what wires never exceed.

A truncation costs nothing where the value comes from a ring wider by the dropped bits
(``protocol.truncate``). So rings are planned backwards: what a wire needs, plus what is dropped on
the way there, is what its source must have; 64 bits are the end. The widest chains start at a
layer norm's product, which gives ``64 - output_shift`` bits to everything up to the next one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from veilform.approx import registry
from veilform.approx.entry import Activation, Attention
from veilform.errors import ModelError
from veilform.models.bert import names
from veilform.models.bert.bounds import SLACK, Gain, LayerBounds, Tensors, layer_bounds
from veilform.models.bert.calibration import Calibration, LayerCalibration, Range
from veilform.models.bert.closer import closer
from veilform.models.bert.config import BertConfig
from veilform.models.bert.head_scaling import plan_head, plan_pooler
from veilform.models.bert.small import by_layer, small_scales
from veilform.models.bert.widths import (
    SIGN,
    bits_of,
    bound_of,
    fewer_limbs,
    shift_to,
    small_or_free,
    widened,
    window_of,
)
from veilform.nn.scales import (
    HIDDEN,
    SCORE,
    WEIGHT,
    WORDS,
    AttentionScales,
    DivisionScales,
    FeedForwardScales,
    LayerScales,
    NormScales,
    Scales,
    Window,
    reciprocal_table,
    rsqrt_table,
)
from veilform.ring import WORD

FINE = 11
"""Significant bits that the coarsest of a context, or of its denominator's reciprocal, keeps."""
CENTRED, ROOT = 11, 10
"""Bits of a centred row's smallest standard deviation, and of the smallest reciprocal root."""
QUERY_BITS, ACTIVE_BITS, VALUE_BITS = 8, 8, 8
"""Fewest fraction bits of queries and keys, activations, values."""
SMALL_HIDDEN = 9
"""Scale of the rows of a layer with small weights, whose rounding is coarser by far."""
GAIN_BITS = 10
"""Fewest fraction bits of the gain on a residual beside small weights."""
PASSED = 17 / 16
"""So many times the end of its range may a denominator be, and no flag tell."""
_NONE: Mapping[str, int] = {}


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
    """The scale tables of a model, one a padded length; only attention differs.

    Args:
        private: whether the look-up of words is secure too.

    Raises:
        ModelError: when a wire cannot be held by any ring; it says which.
    """
    gains = [Gain.read(tensors, names.EMBEDDING_NORM)]
    gains += [
        Gain.read(tensors, names.layer(i, names.OUT_NORM)) for i in range(config.num_hidden_layers)
    ]
    small = small_scales(config, tensors, private)
    bounds = []
    for i in range(config.num_hidden_layers):
        bounds.append(layer_bounds(config, tensors, i, gains[i]))
        if by_layer(small, i):
            bounds[-1] = closer(config, tensors, i, gains[i], bounds[-1])
    embedding = None
    if private:
        row = _embedding_row(tensors)
        measured = calibration.embedding_variance.whole
        embedding = _norm(config, row, row, measured, _hidden(by_layer(small, 0)))
        embedding = _at(embedding, config, row, WORDS)
    planned = tuple(
        _plan(config, tensors, calibration, bounds, small, gains[-1], embedding, length)
        for length in lengths
    )
    # There is one set of weights for all lengths.
    if len({tuple(_weights_of(layer) for layer in each.layers) for each in planned}) > 1:
        raise ModelError(
            "attention's denominators are too small for scales that suit every length; distil with "
            "a stronger range regularisation"
        )
    return planned


def _weights_of(layer: LayerScales) -> tuple[int, ...]:
    """The scales that weights are rounded to."""
    attention, feedforward = layer.attention, layer.feedforward
    return (attention.weight, attention.output, feedforward.outer, feedforward.active)


def _plan(
    config: BertConfig,
    tensors: Tensors,
    calibration: Calibration,
    bounds: Sequence[LayerBounds],
    small: Mapping[str, int],
    last_gain: Gain,
    embedding: NormScales | None,
    length: int,
) -> Scales:
    layers: list[LayerScales] = []
    room = embedding.output if embedding else WORD
    steps = [by_layer(small, i) for i in range(config.num_hidden_layers)]
    following = [*map(_hidden, steps[1:]), HIDDEN]
    for i, (bound, measured) in enumerate(zip(bounds, calibration.layers, strict=True)):
        try:
            layers.append(_layer(config, i, bound, measured, length, room, steps[i], following[i]))
        except ModelError as error:
            raise ModelError(f"layer {i}: {error}") from None
        room = layers[-1].feedforward_norm.output
    head = plan_head(config, tensors, last_gain, room)
    pooler = None
    if config.pooling == "cls":
        pooler = plan_pooler(config, tensors, last_gain, room, head)
    # What leaves a layer norm needs no more bits than what follows.
    needed = [max(layer.attention.qkv, layer.attention.projected) for layer in layers]
    needed.append(pooler.inner + WEIGHT if pooler else head.ring)
    layers = [
        msgspec.structs.replace(
            layer, feedforward_norm=msgspec.structs.replace(layer.feedforward_norm, output=after)
        )
        for layer, after in zip(layers, needed[1:], strict=True)
    ]
    if embedding:
        embedding = msgspec.structs.replace(embedding, output=needed[0])
    entry = embedding.ring if embedding else needed[0]
    return Scales(length, entry, tuple(layers), head, embedding, pooler)


def _layer(
    config: BertConfig,
    index: int,
    bounds: LayerBounds,
    measured: LayerCalibration,
    length: int,
    room: int,
    small: Mapping[str, int] = _NONE,
    following: int = HIDDEN,
) -> LayerScales:
    """Layer ``index``, whose input has a ring of ``room`` bits at most.

    Args:
        small: scales of its matrices of small integers, by part.
        following: scale of the row that it passes on.
    """
    attention_of = registry.attention(config.attention(index))
    activation = registry.activation(config.activation(index))
    attention = _attention(
        config, attention_of, bounds, measured.denominator.whole, length, room, small
    )
    around, after = bounds.attention_centred, bounds.feedforward_centred
    middle = _norm(
        config, bounds.attention_row, around, measured.attention_variance.whole, _hidden(small)
    )
    feedforward = _feedforward(config, activation, bounds, middle.output, small)
    needed = max(feedforward.inner + feedforward.entry, feedforward.output)
    middle = msgspec.structs.replace(middle, output=needed)
    last = _norm(
        config, bounds.feedforward_row, after, measured.feedforward_variance.whole, following
    )
    scale = feedforward.active + activation.fold.halvings + feedforward.outer
    return LayerScales(
        attention,
        _at(middle, config, around, attention.output + attention.weight),
        feedforward,
        _at(last, config, after, scale),
    )


def _hidden(small: Mapping[str, int]) -> int:
    """Scale of a layer's rows."""
    return SMALL_HIDDEN if small else HIDDEN


def _attention(
    config: BertConfig,
    attention: Attention,
    bounds: LayerBounds,
    measured: Range,
    length: int,
    room: int,
    small: Mapping[str, int],
) -> AttentionScales:
    hidden, entry = _hidden(small), small.get("qkv", WEIGHT)
    bound = bound_of(bounds.scores)
    score = bound + SCORE + SIGN + attention.room
    query = min(hidden, room - (score - SCORE + hidden + entry))
    if "qkv" in small:
        query = fewer_limbs(score - SCORE + hidden + entry, query, QUERY_BITS)
    if query < QUERY_BITS:
        raise ModelError(
            f"attention scores may reach {bounds.scores:.3g}, which leaves queries and keys "
            f"{query} fraction bits; at least {QUERY_BITS} are needed"
        )
    score_shift, query_shift = 2 * query - SCORE, hidden + entry - query

    mask_bits = (length - 1).bit_length() + 3
    numerator = attention.scale
    shift = max(0, attention.degree * SCORE + attention.fine - numerator)
    mean = _mean(attention, measured)
    if mean is None:
        # Weights add up to 1, give or take their errors.
        window, largest_sum = None, numerator + 1 + bits_of(bounds.values)
    else:
        # Rounding the mask moves the sum of its elements by at most 1 / 16.
        unit = 2.0 ** (numerator + mask_bits)
        most = attention.largest(bounds.scores) + attention.epsilon
        window = window_of(
            mean.low * (15 / 16) * unit, mean.high * (17 / 16) * unit, most * (17 / 16) * unit
        )
        # The weighted sum of values is at most the denominator times the largest value. A
        # denominator is seen to be out of range two cells beyond at the latest.
        largest_sum = bits_of(window.highest * PASSED) + bits_of(bounds.values)
    value = min(hidden, WORD - shift - SIGN - largest_sum)
    weighted = max(bits_of(window.bound) if window else 0, largest_sum + value) + SIGN
    weighted = max(weighted, attention.mask)
    if small:
        # Whole bytes are sent anyway, and the reciprocal's table is coarser in a wider ring.
        weighted = max(weighted, min(-(-weighted // 8) * 8, WORD - shift))
    value_shift, value_ring = hidden + entry - value, bits_of(bounds.values) + value + SIGN
    qkv = max(score + score_shift + query_shift, value_ring + value_shift)
    if value < VALUE_BITS or weighted + shift > WORD or qkv > room:
        raise ModelError(
            "the values or the attention scores are too large; distil with a smaller range"
        )

    division, whole = None, numerator + value
    if window is not None and mean is not None:
        division, whole = _division(
            attention, mean, window, mask_bits, weighted, value, largest_sum + value
        )
    output = min(hidden, whole - 1)
    row = bits_of(config.hidden_size * bounds.attention_centred)
    drops = whole - output if division else 0
    space = min(WORD - drops, room) - SIGN - row - output
    gain = GAIN_BITS + hidden - output
    weight = small_or_free(small.get("projection"), gain, bounds.attention_row, space)
    return AttentionScales(
        length=length,
        qkv=qkv,
        query_shift=query_shift,
        score_shift=score_shift,
        bound=bound,
        score=score,
        numerator=numerator,
        value_shift=value_shift,
        value=value_ring,
        weighted=weighted,
        mask_bits=mask_bits,
        division=division,
        output_shift=whole - output,
        output=output,
        projected=output + weight + row + SIGN,
        weight=weight,
        entry=entry,
    )


def _mean(attention: Attention, measured: Range) -> Range | None:
    """The range of the mean of a row's numerators, its margins included."""
    if attention.numerators is None:
        return None
    if attention.lowest is not None:
        return Range(attention.lowest, attention.largest(0.0))
    low, high = widened(measured)
    return Range(low + attention.epsilon, high + attention.epsilon)


def _division(
    attention: Attention,
    mean: Range,
    window: Window,
    mask_bits: int,
    weighted: int,
    value: int,
    context: int,
) -> tuple[DivisionScales, int]:
    """The division, and the scale of the quotient before bits are dropped.

    Args:
        weighted: ring of numerators and masked values.
        value: scale of the values.
        context: bits that hold the weighted sum of values.
    """
    table = reciprocal_table(window, attention.scale, weighted)
    # A scale may be negative. The sum of both does not depend on the length, so neither do the
    # weights.
    low_end, high_end = (
        math.log2(end * 2.0**mask_bits) for end in (mean.low * (15 / 16), mean.high * (17 / 16))
    )
    context_scale = math.ceil(HIDDEN - 1 - low_end)
    reciprocal_scale = math.ceil(FINE + high_end)
    context_shift = max(1, attention.scale + value - context_scale)
    context_scale = attention.scale + value - context_shift
    scales = DivisionScales(
        epsilon=round(attention.epsilon * 2.0 ** (attention.scale + mask_bits)),
        denominator=window,
        numerator=attention.scale,
        context_shift=context_shift,
        context=context - context_shift + SIGN,
        reciprocal_shift=shift_to(table, reciprocal_scale),
        reciprocal=math.ceil(reciprocal_scale - low_end) + 1 + SIGN,
    )
    return scales, context_scale + reciprocal_scale


def _feedforward(
    config: BertConfig,
    activation: Activation,
    bounds: LayerBounds,
    room: int,
    small: Mapping[str, int],
) -> FeedForwardScales:
    hidden, entry = _hidden(small), small.get("inner", WEIGHT)
    bound = bound_of(bounds.inner)
    inner = bound + hidden + SIGN + activation.room
    row = bits_of(config.hidden_size * bounds.feedforward_centred)
    halvings = activation.fold.halvings
    # Active elements at their scale times weights / 2^halvings at scale outer + halvings.
    budget = room - SIGN - row - halvings
    # They leave their ring, at ``raw``, for this one without a message.
    raw = activation.degree * hidden + activation.fine
    space = min(budget - ACTIVE_BITS - 2, WORD - raw - halvings - row - SIGN)
    gain = GAIN_BITS - halvings
    outer = small_or_free(small.get("outer"), gain, bounds.feedforward_row, space)
    active = min(hidden, budget - outer)
    if "outer" in small:
        active = fewer_limbs(halvings + outer + row + SIGN, active, ACTIVE_BITS)
    output = active + halvings + outer + row + SIGN
    if inner + entry > room or inner - activation.room > output + raw - active:
        raise ModelError("the inner feed-forward is too large; distil with a smaller range")
    return FeedForwardScales(bound, inner, active, outer, output, hidden, entry)


def _norm(
    config: BertConfig, row: float, element: float, variance: Range, hidden: int = HIDDEN
) -> NormScales:
    """A layer norm's scales, but for those that its input decides: see :func:`_at`.

    Args:
        row: the input's length at most.
        element: an element of it less the mean, at most.
        hidden: scale of the result.

    Returns:
        With ``output`` the most bits that a result can have, and no scale of the input yet.
    """
    d = config.hidden_size
    lowest, highest = widened(variance)
    # One unit of the centred row is 2^-CENTRED of the smallest standard deviation.
    unit = CENTRED - math.log2(math.sqrt(max(lowest, 1e-9)))
    centre_shift = math.floor(math.log2(d) - unit)
    factor = d * 2.0**-centre_shift
    epsilon = config.layer_norm_eps
    squares = d * factor**2
    window = window_of(
        (lowest + epsilon) * squares,
        (highest + epsilon) * squares,
        (row**2 + d * epsilon) * factor**2,
    )
    table = rsqrt_table(d, window)
    root_scale = max(hidden + 1, math.ceil(ROOT + math.log2(math.sqrt(highest) * factor)))
    largest_root = root_scale - math.log2(math.sqrt(lowest + epsilon) * factor)
    return NormScales(
        width=d,
        input=0,
        ring=0,
        centre_shift=centre_shift,
        centred=bits_of(d * element) - centre_shift + SIGN,
        epsilon=round(epsilon * squares),
        sum_of_squares=window,
        root_shift=shift_to(table, root_scale),
        root=math.ceil(largest_root) + 1 + SIGN,
        output_shift=root_scale - hidden,
        output=WORD - (root_scale - hidden),
    )


def _at(norm: NormScales, config: BertConfig, element: float, scale: int) -> NormScales:
    """The same for an input row at ``scale``."""
    shift = norm.centre_shift + scale
    if shift < 1:
        raise ModelError(
            "a layer norm's input varies too little for its scale; calibrate on texts like those "
            "to be served"
        )
    ring = bits_of(config.hidden_size * element) + scale + SIGN
    if ring > WORD:
        raise ModelError(
            f"a layer norm's input may reach {element:.3g}, too large for any ring; distil with a "
            "smaller range"
        )
    return msgspec.structs.replace(norm, input=scale, ring=ring, centre_shift=shift)


def _embedding_row(tensors: Tensors) -> float:
    """Bound on the length of word + position + type."""
    tables = (names.WORDS, names.POSITIONS, names.TYPES)
    return SLACK * float(sum(np.linalg.norm(tensors[name], axis=1).max() for name in tables))
