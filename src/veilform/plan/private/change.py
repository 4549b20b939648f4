"""How far one function is from another, without a model: to compare what is put in their place.

Inputs are drawn as a normed layer gives them. An activation's change is the root mean square of
the difference, relative to that of the function replaced; an attention's is half the sum of the
differences of a row's weights, the share of attention that goes elsewhere. Distillation brings back
most of what that costs: it ranks stand-ins, and predicts no accuracy.
"""

from __future__ import annotations

import functools

import numpy as np

from veilform.approx import registry
from veilform.approx.entry import Activation

SAMPLES = 4096
ROWS = 64
SEED = 2211


@functools.cache
def change(old: str, new: str, length: int) -> float:
    """What it changes to put ``new`` in ``old``'s place, for rows of ``length`` keys. From 0.

    Raises:
        ModelError: a name is unknown, or one is an activation and the other an attention.
    """
    rng = np.random.default_rng(SEED)
    if isinstance(registry.get(old), Activation):
        first, second = registry.activation(old), registry.activation(new)
        x = rng.standard_normal(SAMPLES)
        before, after = np.asarray(first.plain(x)), np.asarray(second.plain(x))
        difference = np.sqrt(np.mean((after - before) ** 2) / np.mean(before**2))
        return float(difference)
    one, two = registry.attention(old), registry.attention(new)
    scores = rng.standard_normal((1, 1, ROWS, length))
    mask = np.ones((1, 1, 1, length))
    rows = [np.asarray(each.plain(scores, mask)) for each in (one, two)]
    return float(np.abs(rows[0] - rows[1]).sum(axis=-1).mean() / 2)
