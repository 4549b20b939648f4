"""The embedding block, which a client computes in the clear, and LayerNorm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veilform.approx.arrays import FloatArray
from veilform.errors import InputError
from veilform.models.bert import names

IdArray = NDArray[np.integer[Any]]
Params = Mapping[str, FloatArray]


def layer_norm(x: FloatArray, params: Params, name: str, eps: float) -> FloatArray:
    """``(x - mean) / sqrt(variance + eps) * weight + bias`` over the last axis.

    The variance is the population's (divided by the count).
    Source: Ba et al., Layer Normalization (2016).
    """
    centred = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt(variance(x)[..., None] + x.dtype.type(eps))
    result: FloatArray = centred / deviation * params[name + ".weight"] + params[name + ".bias"]
    return result


def variance(x: FloatArray) -> FloatArray:
    """Population variance over the last axis, without eps."""
    centred = x - x.mean(axis=-1, keepdims=True)
    result: FloatArray = (centred * centred).mean(axis=-1)
    return result


def embedding_sum(params: Params, ids_BS: IdArray, types_BS: IdArray) -> FloatArray:
    """Word plus type plus position embedding, before LayerNorm; (B, S, D).

    Raises:
        InputError: an id is outside its table, or the sequence is longer than the positions.
    """
    if ids_BS.ndim != 2 or types_BS.shape != ids_BS.shape:
        raise InputError(f"ids {ids_BS.shape} and types {types_BS.shape} must both be (B, S)")
    words, types = params[names.WORDS], params[names.TYPES]
    positions = params[names.POSITIONS]
    for what, ids, table in (("token", ids_BS, words), ("type", types_BS, types)):
        if ids.size and not (ids.min() >= 0 and ids.max() < len(table)):
            raise InputError(f"a {what} id is outside the model's table of {len(table)}")
    length = ids_BS.shape[1]
    if length > len(positions):
        raise InputError(f"{length} positions, but the model has {len(positions)}")
    result: FloatArray = words[ids_BS] + types[types_BS] + positions[:length]
    return result
