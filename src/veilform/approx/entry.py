"""What the registry knows of a function: its plain face, its secure one, and how they compare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from veilform.approx.arrays import FloatArray, MaskArray


@dataclass(frozen=True)
class Activation:
    """An elementwise function of the feed-forward block: ``hidden_act`` in config.json.

    Attributes:
        plain: differentiable; takes arrays and tensors.
    """

    name: str
    plain: Callable[[FloatArray], FloatArray]
    secure: bool
    source: str


@dataclass(frozen=True)
class Attention:
    """Turns scores and a mask into attention weights: ``softmax_act`` in config.json.

    Attributes:
        plain: differentiable; takes arrays and tensors. (..., keys) scores, already scaled by
            1/sqrt(head size), and a mask that broadcasts against them.
    """

    name: str
    plain: Callable[[FloatArray, MaskArray], FloatArray]
    secure: bool
    source: str
