"""The server's weights split for the offline phase: W = P - s.

P is expanded from a seed that server and client share; the server gives s to the dealer, once a
model. To the client P is fresh randomness, to the dealer s is: neither learns anything of W on its
own. The seed is for one set of weights: with it used twice, s - s' would tell the dealer W' - W.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from veilform import kernels, prg
from veilform.ring import Words

Shapes = dict[str, tuple[int, ...]]


def common_part(seed: bytes, name: str, shape: tuple[int, ...]) -> Words:
    """P for one weight."""
    return prg.expand(seed, f"weight/{name}", math.prod(shape)).reshape(shape)


def dealer_part(seed: bytes, name: str, weight: Words) -> Words:
    """s = P - W for one weight."""
    return common_part(seed, name, weight.shape) - weight


class CommonParts(Mapping[str, object]):
    """P of every weight, each expanded and packed when it is asked for, and not kept."""

    def __init__(self, seed: bytes, shapes: Shapes) -> None:
        self._seed, self._shapes = seed, shapes

    def __getitem__(self, name: str) -> object:
        return packed({name: common_part(self._seed, name, self._shapes[name])})[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    def __repr__(self) -> str:
        return f"CommonParts({len(self)} weights)"


def packed(weights: dict[str, Words]) -> dict[str, object]:
    """Matrices packed for repeated products; vectors as they are."""
    return {name: kernels.pack(w) if w.ndim == 2 else w for name, w in weights.items()}


def dealer_bytes(shapes: Shapes) -> int:
    """Bytes of all the dealer's parts."""
    return 8 * sum(math.prod(shape) for shape in shapes.values())
