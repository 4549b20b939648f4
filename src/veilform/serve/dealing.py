"""Where the dealer's computing happens: in its own process, unless it is told of another place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from veilform.correlation import weights
from veilform.correlation.deal import Dealing
from veilform.correlation.manifest import Manifest
from veilform.ring import Words
from veilform.roles import Role

Parts = dict[Role, list[memoryview]]
"""What is dealt to each party, of one correlation or of some in order."""


class Deals(Protocol):
    """Keeps masked weights, and deals stocks with them. For several threads at a time."""

    def hold(self, name: str, masked: Words) -> object:
        """One weight's part s, in the form in which `run` takes it."""

    def run(
        self, manifest: Manifest, seeds: Mapping[Role, bytes], held: Mapping[str, object]
    ) -> Iterator[Parts]:
        """All of a stock, in the manifest's order. The same arguments give the same bytes."""


class Here:
    """In this process, one correlation at a time."""

    def hold(self, name: str, masked: Words) -> object:
        """Packed, if it is a matrix."""
        return weights.packed({name: masked})[name]

    def run(
        self, manifest: Manifest, seeds: Mapping[Role, bytes], held: Mapping[str, object]
    ) -> Iterator[Parts]:
        """All of a stock."""
        return Dealing(manifest, seeds, held).run()
