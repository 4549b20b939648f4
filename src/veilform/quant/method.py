"""Which of a linear layer's products are rounded, and how. By name, as the paper compares them."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Literal

import msgspec

from veilform.errors import InputError

Backward = Literal["exact", "rounded", "luq", "split", "sampled"]


class Method(msgspec.Struct, frozen=True):
    """How a layer computes.

    Attributes:
        bits: of activations and weights; 32: they stay as they are.
        rotated: by a Hadamard matrix before they are rounded.
        backward: what becomes of gradients. ``exact``: nothing. ``rounded``: stochastically, to
            ``bits``. ``luq``: to 4 bits on a logarithmic scale. ``split``: into two 4-bit parts.
            ``sampled``: these, with half of their rows.
    """

    bits: int
    rotated: bool = False
    backward: Backward = "exact"


METHODS: dict[str, Method] = {
    "fp32": Method(32),
    "int8": Method(8, backward="rounded"),
    "lsq": Method(4),
    "lsq+luq": Method(4, backward="luq"),
    "hq": Method(4, rotated=True),
    "hq+bs": Method(4, rotated=True, backward="split"),
    "hq+lss": Method(4, rotated=True, backward="sampled"),
}


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A method for each linear layer of a model.

    Attributes:
        default: of `METHODS`.
        layers: other methods, by a pattern of the layer's name such as ``encoder.layer.0.*``. Of
            several that fit, the last.
        block: size of the Hadamard matrix; 0: chosen at a layer's first batch.

    Raises:
        InputError: a method is unknown, or the block no power of two up to 1024.
    """

    default: str = "hq+lss"
    layers: dict[str, str] = {}
    block: int = 0

    def __post_init__(self) -> None:
        for name in (self.default, *self.layers.values()):
            if name not in METHODS:
                raise InputError(f"no method {name}: it is one of {', '.join(METHODS)}")
        if self.block and (self.block & (self.block - 1) or not 2 <= self.block <= 1024):
            raise InputError("a Hadamard block is a power of two from 2 to 1024, or 0")

    def of(self, layer: str) -> Method:
        """The method of the layer of this name."""
        found = self.default
        for pattern, name in self.layers.items():
            if fnmatchcase(layer, pattern):
                found = name
        return METHODS[found]
