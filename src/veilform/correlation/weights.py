"""The server's weights split for the offline phase: W = P - s.

P is expanded from a seed that server and client share; the server gives s to the dealer, once a
model. To the client P is fresh randomness, to the dealer s is: neither learns anything of W on its
own. The seed is for one set of weights: with it used twice, s - s' would tell the dealer W' - W.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from veilform import kernels, prg, winograd
from veilform.masks import Tiled
from veilform.ring import Words

Shapes = dict[str, tuple[int, ...]]


def common_part(seed: bytes, name: str, shape: tuple[int, ...]) -> Words:
    """P for one weight."""
    return prg.expand(seed, f"weight/{name}", math.prod(shape)).reshape(shape)


def dealer_part(seed: bytes, name: str, weight: Words) -> Words:
    """s = P - W for one weight."""
    return common_part(seed, name, weight.shape) - weight


MOST_KEPT_BYTES = 1 << 30
MOST_STACKED = 256
"""Matrices of one weight: small ones take far more memory packed than their words do."""


class CommonParts(Mapping[str, object]):
    """P of every weight, expanded and packed when it is first asked for.

    All are kept for the next stock if they take no more than 1 GiB, as BERT-base's do. Those of
    a larger model are expanded each time: a client need not have a server's memory.
    """

    def __init__(self, seed: bytes, shapes: Shapes) -> None:
        self._seed, self._shapes = seed, shapes
        self._kept: dict[str, object] | None = (
            {} if dealer_bytes(shapes) <= MOST_KEPT_BYTES else None
        )

    def __getitem__(self, name: str) -> object:
        if self._kept and name in self._kept:
            return self._kept[name]
        part = packed({name: common_part(self._seed, name, self._shapes[name])})[name]
        if self._kept is not None:
            self._kept[name] = part
        return part

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    def __repr__(self) -> str:
        return f"CommonParts({len(self)} weights)"


def packed(weights: dict[str, Words]) -> dict[str, object]:
    """Matrices packed for repeated products; vectors as they are."""
    return {name: packed_one(w) for name, w in weights.items()}


def packed_one(weight: npt.NDArray[Any]) -> Any:
    """A weight of one, two or three axes as products take it: words, or small signed integers."""
    if weight.ndim == 1:
        return weight
    return kernels.pack(weight) if weight.ndim == 2 else kernels.pack_stack(weight)


def times(x: Words, weight: Any, bits: int, by: Tiled | None, onto: Words | None = None) -> Words:
    """X times a weight as `packed_one` made it, mod 2^bits: see ``specs.Term``.

    Args:
        onto: an array that the product is added to, in place; then it is what is returned.
    """
    if by is not None:
        return winograd.convolve(x, weight, by.tile, by.padding, bits, onto)
    if not isinstance(weight, np.ndarray) or weight.ndim > 1:
        return kernels.matmul(x, weight, bits, onto, accumulate=onto is not None)
    if onto is None:
        return x * weight
    onto += x * weight
    return onto


def dealer_bytes(shapes: Shapes) -> int:
    """Bytes of all the dealer's parts."""
    return 8 * sum(math.prod(shape) for shape in shapes.values())
