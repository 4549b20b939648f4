"""Which functions a model should have to answer in time: the least change for each duration.

A layer's choices are independent of the others': what a model takes is the sum over its layers and
what is around them. So the best mixes are those that no other beats in both seconds and change, and
they are found exactly, a layer at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from veilform.errors import InputError


class Choice(NamedTuple):
    """One way to compute one layer: its functions, the seconds it takes, and what it changes."""

    activation: str
    attention: str
    seconds: float
    change: float


class Mix(NamedTuple):
    """A choice for each layer."""

    seconds: float
    change: float
    layers: tuple[Choice, ...]

    @property
    def activations(self) -> tuple[str, ...]:
        """By layer."""
        return tuple(layer.activation for layer in self.layers)

    @property
    def attentions(self) -> tuple[str, ...]:
        """By layer."""
        return tuple(layer.attention for layer in self.layers)


def frontier(around: float, layers: Sequence[Sequence[Choice]]) -> list[Mix]:
    """All mixes that no other beats, the fastest first.

    Args:
        around: seconds of what is not in a layer.
        layers: each layer's choices, from the input's side. Layers at the input's side change
            first where it makes no difference.
    """
    best = [Mix(around, 0.0, ())]
    for choices in layers:
        best = _undominated(
            [
                Mix(mix.seconds + each.seconds, mix.change + each.change, (*mix.layers, each))
                for mix in best
                for each in _useful(choices)
            ]
        )
    return best


def cheapest(mixes: Sequence[Mix], seconds: float) -> Mix:
    """The mix of least change within so many seconds.

    Raises:
        InputError: even the fastest takes longer; it says how long.
    """
    fitting = [mix for mix in mixes if mix.seconds <= seconds]
    if not fitting:
        raise InputError(
            f"no mix answers within {seconds:.3g} s: the fastest takes {mixes[0].seconds:.3g} s; "
            "allow more, shorten the texts, or take a smaller model or a faster link"
        )
    return fitting[-1]


def _useful(choices: Sequence[Choice]) -> list[Choice]:
    kept: list[Choice] = []
    for each in sorted(choices, key=lambda c: (c.seconds, c.change)):
        if not kept or each.change < kept[-1].change - 1e-12:
            kept.append(each)
    return kept


def _undominated(mixes: list[Mix]) -> list[Mix]:
    kept: list[Mix] = []
    # Sums in another order differ in their last digits: those are the same mix of functions.
    for mix in sorted(mixes, key=lambda m: (round(m.seconds, 9), round(m.change, 9))):
        if not kept or mix.change < kept[-1].change - 1e-9:
            kept.append(mix)
    return kept
