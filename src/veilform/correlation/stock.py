"""A party's stock for one run: taken in order, each correlation once."""

from __future__ import annotations

from typing import Any

from veilform.correlation.manifest import Manifest, layout
from veilform.correlation.material import Material
from veilform.correlation.specs import AnySpec, Source
from veilform.errors import StockError
from veilform.roles import Role

Received = list[dict[str, memoryview]]


def cut(manifest: Manifest, role: Role, dealt: Any, corrections: Any = b"") -> Received:
    """Cuts received bytes into the fields of each spec.

    Raises:
        StockError: when the sizes are not what the manifest gives.
    """
    received: Received = [{} for _ in manifest.specs]
    for source, data in ((Source.DEALT, dealt), (Source.CORRECTION, corrections)):
        view, start = memoryview(data), 0
        for fields, spec in zip(received, manifest.specs, strict=True):
            for name, size in layout(spec, role, source):
                fields[name] = view[start : start + size]
                start += size
        if start != view.nbytes:
            raise StockError(
                f"a stock holds {view.nbytes} {source.value} bytes where its manifest says "
                f"{start}; it is damaged or for something else: ask the dealer for a new one"
            )
    return received


class Stock:
    """Correlated randomness for one run of one party. Its text form shows no content."""

    def __init__(self, role: Role, manifest: Manifest, seed: bytes, received: Received) -> None:
        self.role = role
        self.manifest = manifest
        self._seed = seed
        self._received: list[dict[str, memoryview] | None] = list(received)
        self._next = 0

    def take(self, spec: AnySpec) -> Material:
        """The material for the next correlation, which must be ``spec``.

        Raises:
            StockError: when the stock is used up, or the run asks for something else.
        """
        index = self._next
        if index >= len(self.manifest.specs):
            raise StockError("the stock is used up; each run needs a new one from the dealer")
        expected = self.manifest.specs[index]
        # Counted before anything is handed out: a run that fails here does not get it again.
        self._next += 1
        received, self._received[index] = self._received[index], None
        if spec != expected or received is None:
            raise StockError(
                f"the run asks for {spec.name} where the stock has {expected.name}; "
                "model and stock do not belong together"
            )
        return Material(spec, self.role, self._seed, received)

    def __repr__(self) -> str:
        return f"Stock({self.role.value}, taken {self._next} of {len(self.manifest.specs)})"
