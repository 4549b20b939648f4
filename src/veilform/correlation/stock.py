"""A party's stock for one run: taken in order, each correlation once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from veilform.correlation.ahead import Ahead
from veilform.correlation.manifest import Manifest
from veilform.correlation.material import Material
from veilform.correlation.specs import AnySpec, Source
from veilform.errors import StockError
from veilform.roles import Role

Received = list[dict[str, memoryview]]
MOST_AHEAD_BYTES = 64 << 20
"""Of fields made before they are taken."""


def cut(manifest: Manifest, role: Role, dealt: Any, corrections: Any = b"") -> Received:
    """Cuts received bytes into the fields of each spec.

    Raises:
        StockError: when the sizes are not what the manifest gives.
    """
    received: Received = [{} for _ in manifest.specs]
    for source, data in ((Source.DEALT, dealt), (Source.CORRECTION, corrections)):
        view, start = memoryview(data), 0
        for fields, layout in zip(received, manifest.layouts(role, source), strict=True):
            for name, size in layout:
                fields[name] = view[start : start + size]
                start += size
        if start != view.nbytes:
            raise StockError(
                f"a stock holds {view.nbytes} {source.value} bytes where its manifest says "
                f"{start}; it is damaged or for something else: ask the dealer for a new one"
            )
    return received


class Stock:
    """Correlated randomness for one run of one party. Its text form shows no content.

    Args:
        received: the fields of each spec that are not expanded, in order; may be made as it goes.
    """

    def __init__(
        self,
        role: Role,
        manifest: Manifest,
        seed: bytes,
        received: Iterable[Mapping[str, memoryview]],
    ) -> None:
        self.role = role
        self.manifest = manifest
        self._materials: Iterator[Material] = (
            Material(spec, role, seed, fields)
            for spec, fields in zip(manifest.specs, received, strict=True)
        )
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
        material = next(self._materials, None)
        if spec != expected or material is None:
            raise StockError(
                f"the run asks for {spec.name} where the stock has {expected.name}; "
                "model and stock do not belong together"
            )
        return material

    @contextlib.contextmanager
    def ahead(self, most_bytes: int = MOST_AHEAD_BYTES) -> Iterator[None]:
        """For the length of a run: a thread makes each correlation's fields before they are taken.

        The stock ends with the run: nothing can be taken from it afterwards.
        """
        materials = Ahead((each.made() for each in self._materials), Material.size, most_bytes)
        self._materials = materials
        try:
            yield
        finally:
            materials.close()

    def __repr__(self) -> str:
        return f"Stock({self.role.value}, taken {self._next} of {len(self.manifest.specs)})"
