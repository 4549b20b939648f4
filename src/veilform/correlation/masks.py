"""The client's masks by name, as client and dealer compute them, and the client's corrections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic

import numpy as np

from veilform.correlation.manifest import Manifest
from veilform.correlation.material import expand_field, pack_field
from veilform.correlation.specs import AnySpec, Linear, Preshare
from veilform.correlation.weights import times
from veilform.masks import ArrayT, MaskRef
from veilform.ring import Words
from veilform.roles import CLIENT


class MaskTable(Generic[ArrayT]):
    """Arrays of named masks. Forgets each after the last spec that speaks of it.

    Attributes:
        words: how many it holds, of all arrays.
    """

    def __init__(self, specs: tuple[AnySpec, ...]) -> None:
        self.words = 0
        self._arrays: dict[str, ArrayT] = {}
        self._last = {ref.name: i for i, spec in enumerate(specs) for ref in references(spec)}

    def put(self, name: str, mask: ArrayT) -> None:
        """Keeps a mask that some later spec names; drops any other."""
        if name in self._last:
            self._arrays[name] = mask
            self.words += mask.size

    def get(self, ref: MaskRef) -> ArrayT:
        """The mask seen through the reference's views."""
        return ref.of(self._arrays[ref.name])

    def forget(self, index: int, spec: AnySpec) -> None:
        """Drops what spec number ``index`` was the last to need."""
        for ref in references(spec):
            if self._last[ref.name] == index:
                mask = self._arrays.pop(ref.name, None)
                self.words -= 0 if mask is None else mask.size


def references(spec: AnySpec) -> Iterator[MaskRef]:
    """Every mask that a spec speaks of."""
    if isinstance(spec, Linear):
        yield from (term.mask for term in spec.terms)
        return
    for name in ("source", "opened", "a", "b", "c", "bit", "index", "payload"):
        ref = getattr(spec, name, None)
        if isinstance(ref, MaskRef):
            yield ref


def client_mask(spec: AnySpec, seed: bytes) -> Words | None:
    """The mask that the client fixes by this spec, if any."""
    if not isinstance(spec, (Preshare, Linear)):
        return None
    return expand_field(seed, spec, spec.field(CLIENT, "mask"))


def product_of_masks(spec: Linear, masks: MaskTable[Words], weights: Mapping[str, object]) -> Words:
    """sum_i r_i W_i mod 2^spec.bits, with s for the weights at the dealer and P at the client."""
    total = np.zeros(spec.shape, np.uint64)
    for term in spec.terms:
        r, weight = masks.get(term.mask), weights[term.weight]
        if term.then:
            total += term.seen(times(r, weight, spec.bits, term.by))
        else:
            times(r, weight, spec.bits, term.by, total)
    return total


def corrections(
    manifest: Manifest, seed: bytes, weights: Mapping[str, object]
) -> Iterator[memoryview]:
    """What the client sends ahead for each linear layer: sum_i r_i P_i - A_C - r_Z, packed.

    Args:
        weights: the common part P of each weight; matrices packed, or plain for inputs of two axes.
    """
    masks: MaskTable[Words] = MaskTable(manifest.specs)
    for index, spec in enumerate(manifest.specs):
        mask = client_mask(spec, seed)
        if isinstance(spec, Linear):
            assert mask is not None
            share = spec.field(CLIENT, "share")
            product = product_of_masks(spec, masks, weights)
            yield pack_field(product - expand_field(seed, spec, share) - mask, share)
        if mask is not None:
            masks.put(spec.name, mask)
        masks.forget(index, spec)
