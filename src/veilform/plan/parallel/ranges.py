"""Sums over every range of layers: tables of (L + 1, L + 1), where [i, j] is of i to j - 1."""

from __future__ import annotations

import numpy as np

from veilform.plan.parallel.profile import Floats, LayerProfile


def range_sums(values: Floats) -> Floats:
    """Sums of (..., L) over every range; what is not a range is below 0 or 0."""
    sums = np.concatenate([np.zeros((*values.shape[:-1], 1)), values.cumsum(-1)], -1)
    return sums[..., None, :] - sums[..., :, None]


def parameters(profile: LayerProfile) -> Floats:
    """Parameters of every range; the matrix that layers share counts once."""
    shared = profile.column("shared")
    return range_sums(profile.column("parameters")) + shared.max() * (range_sums(shared) > 0)
