"""Scales and rings of what follows the last layer: pooling, a dense layer, the logits."""

from __future__ import annotations

import math

import numpy as np

from veilform.approx import registry
from veilform.approx.entry import Reach
from veilform.errors import ModelError
from veilform.models.bert import names
from veilform.models.bert.bounds import SLACK, Affine, Gain, Tensors
from veilform.models.bert.config import BertConfig
from veilform.models.bert.widths import SIGN, bits_of, bound_of
from veilform.nn.scales import (
    CLASSIFIER,
    HIDDEN,
    LOGIT,
    POOL,
    WEIGHT,
    FeedForwardScales,
    HeadScales,
)
from veilform.ring import WORD

POOL_BITS = 10
"""Fewest fraction bits of pooling weights."""


def plan_head(config: BertConfig, tensors: Tensors, before: Gain, room: int) -> HeadScales:
    """The logits before truncation."""
    largest = SLACK * _largest_logit(config, tensors, before)
    logit = bits_of(largest) + LOGIT + SIGN
    drops = HIDDEN + CLASSIFIER - LOGIT
    pool = 0 if config.pooling == "cls" else min(POOL, room - logit - drops)
    if pool < 0 or (config.pooling == "mean" and pool < POOL_BITS):
        raise ModelError(
            f"a logit may reach {largest:.3g}, too large for its ring; distil with weight decay"
        )
    return HeadScales(pool, logit + drops + pool, drops + pool)


def plan_pooler(
    config: BertConfig, tensors: Tensors, before: Gain, room: int, head: HeadScales
) -> FeedForwardScales:
    """A [CLS] pooling's dense layer and activation, up to the classifier."""
    activation = registry.activation(config.head_act)
    element = SLACK * _pooler_reach(config, tensors, before).element
    bound = bound_of(element)
    inner = bound + HIDDEN + SIGN + activation.room
    output = max(head.ring, inner)
    dropped = (activation.degree - 1) * HIDDEN + activation.fine
    if inner + WEIGHT > room or output + dropped > WORD:
        raise ModelError(
            f"the head's dense layer may reach {element:.3g}, too large for any ring; distil with "
            "weight decay"
        )
    return FeedForwardScales(bound, inner, HIDDEN, CLASSIFIER, output)


def _pooler_reach(config: BertConfig, tensors: Tensors, before: Gain) -> Reach:
    root = math.sqrt(config.hidden_size)
    dense = Affine.read(tensors, names.POOLER).after(before)
    return Reach(dense.element(root), dense.length(root))


def _largest_logit(config: BertConfig, tensors: Tensors, before: Gain) -> float:
    """Bound on an element of the output. A mean row is no longer than those it comes from."""
    root = math.sqrt(config.hidden_size)
    if not config.classifies:
        return float((np.abs(before.gain) * root + np.abs(before.bias)).max())
    classifier = Affine.read(tensors, names.CLASSIFIER)
    if config.pooling == "mean":
        return classifier.after(before).element(root)
    pooled = registry.activation(config.head_act).reach(_pooler_reach(config, tensors, before))
    return classifier.element(min(pooled.length, pooled.element * root))
