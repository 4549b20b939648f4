"""What is fuzzed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple


class Target(NamedTuple):
    """A parser and where its inputs begin from.

    Its function takes bytes and returns, or raises a `VeilformError`. All else is a failure.
    """

    name: str
    corpus: Sequence[bytes]
    parse: Callable[[bytes], object]
