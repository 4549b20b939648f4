"""Matrices of small integers: which a model's config declares, and whether they are.

A matrix with its gains folded in is small if every column is a power of two times integers of 4 or
8 bits. A checkpoint keeps the matrices without their gains, in float32: dividing the gain out and
multiplying it back in moves such an integer by far less than `EXACT`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from veilform import kernels
from veilform.errors import ModelError
from veilform.models.bert.bounds import Real, Tensors
from veilform.models.bert.config import SMALL_WEIGHTS, BertConfig
from veilform.models.bert.folding import folded, gain_before

EXACT = 2.0**-6
"""How far from an integer a weight over its step may be."""
COARSEST, FINEST = 4, 20
"""Scales that are looked for. Plans drop bits of what leaves a matrix, so it must have some."""


def small_scales(config: BertConfig, tensors: Tensors, private: bool = False) -> dict[str, int]:
    """The scale of each matrix declared small: the least, from COARSEST, at which it is whole.

    Raises:
        ModelError: a matrix is not what the config declares; it says which.
    """
    found: dict[str, int] = {}
    declared = config.small(private)
    for index in range(config.num_hidden_layers):
        prefix = f"layer.{index}."
        wanted = [name for name in declared if name.startswith(prefix)]
        if wanted:
            layer = folded(config, tensors, index, gain_before(config, tensors, index, private))
            for name in wanted:
                weight = layer.part(name.removeprefix(prefix)).weight
                found[name] = _scale(name, weight, declared[name])
    return found


def by_layer(scales: Mapping[str, int], index: int) -> dict[str, int]:
    """Those of one layer, by part."""
    prefix = f"layer.{index}."
    return {n.removeprefix(prefix): s for n, s in scales.items() if n.startswith(prefix)}


def _scale(name: str, weight: Real, bits: int) -> int:
    for scale in range(COARSEST, FINEST + 1):
        raised = weight * 2.0**scale
        whole = np.rint(raised)
        if np.abs(raised - whole).max() <= EXACT:
            _check(name, whole, bits)
            return scale
    raise _broken(name, bits, "its weights are no multiples of a power of two")


def _check(name: str, whole: npt.NDArray[np.float64], bits: int) -> None:
    """Each column over its own step must fit the bits."""
    integers = whole.astype(np.int64)
    small = integers >> kernels.shifts_of(integers)
    limit = 1 << (bits - 1)
    wide = ((small < -limit) | (small >= limit)).any(axis=0)
    if wide.any():
        raise _broken(name, bits, f"column {int(wide.argmax())} has more")


def _broken(name: str, bits: int, why: str) -> ModelError:
    return ModelError(
        f"{SMALL_WEIGHTS} declares {bits} bits for {name}, but {why}. Run `veilform quantize` "
        f"on the model that it was made of, or take {name} out of {SMALL_WEIGHTS}"
    )
