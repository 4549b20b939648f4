"""Every function that a model may name in its config, by name.

Adding one is one file beside this: a module of this package with an ``ENTRY``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from types import MappingProxyType
from typing import TypeVar

from veilform import approx
from veilform.approx.entry import Activation, Attention
from veilform.errors import ModelError

_Kind = TypeVar("_Kind", Activation, Attention)


def _found() -> Iterator[Activation | Attention]:
    for module in pkgutil.iter_modules(approx.__path__):
        if module.name != "registry":
            entry = getattr(
                importlib.import_module(f"veilform.approx.{module.name}"), "ENTRY", None
            )
            if entry is not None:
                yield entry


ENTRIES = MappingProxyType({entry.name: entry for entry in _found()})
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
