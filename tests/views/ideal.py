"""A look-up with an ideal sharing of the point function in place of the AES-based keys.

The real keys hide the point and its value computationally only, so no enumeration can show it. With
this in their place, everything else about a look-up is exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from veilform.correlation import specs
from veilform.correlation.deal import Dealing
from veilform.correlation.specs import Field, Source, Spec
from veilform.drive.trace import ShapeParty
from veilform.masks import MaskRef
from veilform.protocol.party import Party
from veilform.roles import CLIENT, Role
from veilform.shapes import Abstract

RING = 3
"""Bits of the sharing of the point function: enough for what the tests look up."""


class IdealLookup(Spec, frozen=True, tag="ideal"):
    """The point function's values, shared: 1 at the index's mask, the payload's mask beside it."""

    count: int
    bits: int
    index: MaskRef
    payload: MaskRef | None = None
    levels: int = 1

    def fields(self, role: Role) -> tuple[Field, ...]:
        width = 1 if self.payload is None else 2
        source = Source.SEED if role is CLIENT else Source.DEALT
        return (Field("points", (self.count, 1 << self.bits, width), RING, source),)


@Dealing._values.register(IdealLookup)
def _deal(self: Dealing, spec: IdealLookup) -> dict[str, np.ndarray]:
    alpha = self._masks.get(spec.index).reshape(-1).astype(np.int64)
    points = np.zeros(spec.fields(CLIENT)[0].shape, np.uint64)
    lanes = np.arange(spec.count)
    points[lanes, alpha, 0] = 1
    if spec.payload is not None:
        points[lanes, alpha, 1] = self._masks.get(spec.payload).reshape(-1)
    return {"points": points}


def _look_up(self: Party, taken: Any, bits: int, index: np.ndarray, table: np.ndarray) -> Any:
    points = taken["points"]
    size = 1 << bits
    rows = (index[:, None] - np.arange(size, dtype=np.uint64)) & np.uint64(size - 1)
    out = np.einsum("kic,kiw->kcw", table[rows.astype(np.int64)], points)
    return np.concatenate([out, np.zeros_like(out)], axis=2)[:, :, :2]


def _line(self: Party, taken: Any, bits: int, index: np.ndarray, table: Any) -> Any:
    """Intercept, slope, slope times payload, outside; ``table.columns`` has them for each index."""
    out = _look_up(self, taken, bits, index, table.columns)
    return np.stack([out[:, 0, 0], out[:, 1, 0], out[:, 1, 1], out[:, 2, 0]], axis=1)


def _shape(self: Party, taken: Any, bits: int, index: Abstract, table: np.ndarray) -> Abstract:
    return Abstract((index.size, table.shape[1], 2))


def _line_shape(self: Party, taken: Any, bits: int, index: Abstract, table: Any) -> Abstract:
    return Abstract((index.size, 4))


@pytest.fixture
def ideal_lookups() -> Iterator[None]:
    """Look-ups read an ideal sharing while the test runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(specs, "Lookup", IdealLookup)
        patch.setattr(Party, "lookup", _look_up)
        patch.setattr(ShapeParty, "lookup", _shape)
        patch.setattr(Party, "line", _line)
        patch.setattr(ShapeParty, "line", _line_shape)
        yield
