"""One entry for each function that a model may name in its config.

A new function is one file with its plain definition and one line in ``_ENTRIES``. A model can be
served only if every function that it names is ``secure``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from veilform.approx.arrays import FloatArray, MaskArray
from veilform.approx.gelu import gelu
from veilform.approx.quad import quad
from veilform.approx.softmax import softmax
from veilform.approx.twoquad import twoquad
from veilform.errors import ModelError


@dataclass(frozen=True)
class Activation:
    """An elementwise function of the feed-forward block: ``hidden_act`` in config.json."""

    name: str
    plain: Callable[[FloatArray], FloatArray]
    secure: bool
    source: str


@dataclass(frozen=True)
class Attention:
    """Turns scores and a mask into attention weights: ``softmax_act`` in config.json."""

    name: str
    plain: Callable[[FloatArray, MaskArray], FloatArray]
    secure: bool
    source: str


_Kind = TypeVar("_Kind", Activation, Attention)

_MPCFORMER = "Li et al., MPCFormer (ICLR 2023), its GELU and softmax stand-ins"
_ENTRIES: tuple[Activation | Attention, ...] = (
    Activation("quad", quad, True, _MPCFORMER),
    Activation("gelu", gelu, False, "Hendrycks and Gimpel (2016), equation 1"),
    Attention("2quad", twoquad, True, _MPCFORMER),
    Attention("softmax", softmax, False, "Vaswani et al. (2017), equation 1"),
)
ENTRIES = MappingProxyType({entry.name: entry for entry in _ENTRIES})
"""Every known function by name."""


def get(name: str) -> Activation | Attention:
    """The entry called ``name``.

    Raises:
        ModelError: no such entry; the message lists the known names.
    """
    entry = ENTRIES.get(name)
    if entry is None:
        raise ModelError(f"no function is called {name!r}; known: {', '.join(sorted(ENTRIES))}")
    return entry


def activation(name: str) -> Activation:
    """Like ``get``, and the entry must be an activation."""
    return _of_kind(name, Activation)


def attention(name: str) -> Attention:
    """Like ``get``, and the entry must be an attention."""
    return _of_kind(name, Attention)


def _of_kind(name: str, kind: type[_Kind]) -> _Kind:
    entry = ENTRIES.get(name)
    if not isinstance(entry, kind):
        known = sorted(n for n, candidate in ENTRIES.items() if isinstance(candidate, kind))
        what = kind.__name__.lower()
        raise ModelError(f"no {what} is called {name!r}; known: {', '.join(known)}")
    return entry
