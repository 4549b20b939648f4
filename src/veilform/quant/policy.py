"""Which layers train with which integers."""

from __future__ import annotations

from fnmatch import fnmatchcase

import msgspec

from veilform.errors import InputError

#: Forward and backward arithmetic: see docs/quantization.md.
METHODS = ("fp32", "int8", "lsq", "lsq+luq", "hq", "hq+bs", "hq+lss")
#: What ``veilform distill --precision`` knows, as the method of every linear layer.
PRECISIONS = {"fp32": "fp32", "int8": "int8", "int4": "hq+lss"}
MOST_GROUP = 1024


class LayerPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one layer's products are computed.

    Attributes:
        method: one of METHODS.
        group: size of the Hadamard blocks, a power of two; 0: chosen at the first batch.
        keep: share of the 2N split rows of a gradient that sampling keeps on average; N is 0.5.
    """

    method: str = "hq+lss"
    group: int = 0
    keep: float = 0.5

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"no method {self.method!r}; choose one of {', '.join(METHODS)}")
        if self.group and (self.group & (self.group - 1) or not 2 <= self.group <= MOST_GROUP):
            raise InputError(f"a group is a power of two from 2 to {MOST_GROUP}, not {self.group}")
        if not 0 < self.keep <= 1:
            raise InputError(f"keep lies in (0, 1], not {self.keep}")


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A method for every linear layer, with exceptions by name.

    Attributes:
        default: for layers that no pattern fits.
        layers: (pattern, policy): the first pattern (as of a shell) that fits a layer's name wins.
    """

    default: LayerPolicy = LayerPolicy()
    layers: tuple[tuple[str, LayerPolicy], ...] = ()

    @classmethod
    def of(cls, method: str) -> Policy:
        """One method for all layers."""
        return cls(LayerPolicy(method))

    def at(self, name: str) -> LayerPolicy:
        """The policy of the layer with this name."""
        return next((p for pattern, p in self.layers if fnmatchcase(name, pattern)), self.default)
