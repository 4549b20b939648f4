"""Dealing: the bytes that the dealer sends each party, from two seeds and the masked weights.

Only the dealer, the lockstep driver and tests import this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import singledispatchmethod

import numpy as np

from veilform import kernels
from veilform.correlation.manifest import Manifest
from veilform.correlation.masks import MaskTable, client_mask, product_of_masks
from veilform.correlation.material import expand_field, pack_field
from veilform.correlation.specs import (
    AnySpec,
    Bit,
    Choose,
    Compare,
    Convert,
    Curve,
    Difference,
    Harmonics,
    Inner,
    Linear,
    Lookup,
    MatMul,
    Open,
    Preshare,
    Product,
    Source,
    Spec,
    Square,
)
from veilform.masks import MaskRef
from veilform.ring import Words, msb, reduce
from veilform.roles import CLIENT, SERVER, Role

Dealt = dict[str, Words]
"""Field names to values, before the client's share is taken off."""


class Dealing:
    """One pass over a manifest. Holds both parties' seeds, hence every mask of the run.

    Args:
        weights: the dealer's part s of each; matrices packed, or plain for inputs of two axes.
    """

    def __init__(
        self,
        manifest: Manifest,
        seeds: Mapping[Role, bytes],
        weights: Mapping[str, object],
    ) -> None:
        self._manifest = manifest
        self._seeds = seeds
        self._weights = weights
        self._masks: MaskTable[Words] = MaskTable(manifest.specs)

    def run(self) -> Iterator[dict[Role, list[memoryview]]]:
        """For each spec in order, the dealt fields of each party as bytes."""
        for index, spec in enumerate(self._manifest.specs):
            mask = client_mask(spec, self._seeds[CLIENT])
            if mask is not None:
                self._masks.put(spec.name, mask)
            values = self._values(spec)
            yield {role: self._dealt(spec, role, values) for role in (CLIENT, SERVER)}
            self._masks.forget(index, spec)

    def _dealt(self, spec: AnySpec, role: Role, values: Dealt) -> list[memoryview]:
        """The role's dealt fields: of a sharing, what is left without the client's share."""
        out = []
        own = {f.name: f for f in spec.fields(CLIENT)}
        for field in spec.fields(role):
            if field.source is not Source.DEALT:
                continue
            value, ours = values[field.name], own[field.name]
            if ours.source is Source.SEED:
                value = value - expand_field(self._seeds[CLIENT], spec, ours)
            out.append(pack_field(value, field))
        return out

    def _draw(self, role: Role, spec: Spec, name: str) -> Words:
        return expand_field(self._seeds[role], spec, spec.field(role, name))

    def _parts(self, ref: MaskRef, width: int | None) -> tuple[Words, Words]:
        """q = rho and h = msb(rho) of an opened value's mask; 0 for the latter if not lifted."""
        rho = self._masks.get(ref)
        return rho, np.zeros_like(rho) if width is None else msb(rho, width)

    @singledispatchmethod
    def _values(self, spec: Spec) -> Dealt:
        raise TypeError(f"no rule deals a {type(spec).__name__}")

    @_values.register
    def _(self, spec: Preshare) -> Dealt:
        return {}

    @_values.register
    def _(self, spec: Linear) -> Dealt:
        return {"share": product_of_masks(spec, self._masks, self._weights)}

    @_values.register
    def _(self, spec: Open) -> Dealt:
        rho = np.zeros(spec.shape, np.uint64)
        for role in spec.senders:
            rho = rho + self._draw(role, spec, "rho")
        if spec.source is not None:
            rho = rho - self._masks.get(spec.source)
        rho = reduce(rho, spec.width)
        self._masks.put(spec.name, rho)
        if spec.bits == spec.width:
            return {}
        return {"q": rho, "h": msb(rho, spec.width)}

    @_values.register
    def _(self, spec: Square) -> Dealt:
        q, h = self._parts(spec.opened, spec.width)
        return {"qq": q * q, "qh": q * h}

    @_values.register
    def _(self, spec: Product) -> Dealt:
        qa, ha = self._parts(spec.a, spec.a_width)
        qb, hb = self._parts(spec.b, spec.b_width)
        return {"qq": qa * qb, "qh": qa * hb, "hq": ha * qb, "hh": ha * hb}

    @_values.register
    def _(self, spec: Difference) -> Dealt:
        qa, ha = self._parts(spec.a, spec.a_width)
        qb, hb = self._parts(spec.b, spec.b_width)
        qc, hc = self._parts(spec.c, spec.c_width)
        q = qa - qb
        return {"qq": q * qc, "qh": q * hc} | {
            name: np.broadcast_to(value, spec.shape)
            for name, value in (("aq", ha * qc), ("ah", ha * hc), ("bq", hb * qc), ("bh", hb * hc))
        }

    @_values.register
    def _(self, spec: Inner) -> Dealt:
        qa, ha = self._parts(spec.a, spec.a_width)
        qb, hb = self._parts(spec.b, spec.b_width)
        summed = (qa * qb).sum(-1, keepdims=True)
        return {"qq": summed, "qh": qa * hb, "hq": ha * qb, "hh": ha * hb}

    @_values.register
    def _(self, spec: MatMul) -> Dealt:
        a, b = self._masks.get(spec.a), self._masks.get(spec.b)
        b = np.broadcast_to(b, (*a.shape[:-2], *b.shape[-2:]))
        return {"product": kernels.matmul(a, b, spec.bits)}

    @_values.register
    def _(self, spec: Bit) -> Dealt:
        m = self._draw(CLIENT, spec, "flip") ^ self._draw(SERVER, spec, "flip")
        if spec.source is not None:
            m = m ^ msb(reduce(self._masks.get(spec.source), spec.width), spec.width)
        self._masks.put(spec.name, m)
        return {}

    @_values.register
    def _(self, spec: Convert) -> Dealt:
        return {"m": self._masks.get(spec.bit)}

    @_values.register
    def _(self, spec: Choose) -> Dealt:
        m = self._masks.get(spec.bit)
        q, h = self._parts(spec.opened, spec.width)
        return {"m": m, "mq": m * q, "mh": m * h}

    @_values.register
    def _(self, spec: Compare) -> Dealt:
        alpha = reduce(self._masks.get(spec.index), spec.bits).reshape(-1)
        blocks, right_bits = kernels.compare_generate(*self._roots(spec), alpha, spec.bits)
        shape = (spec.count, -1, 2)
        return {"blocks": blocks.view(np.uint64).reshape(shape), "right_bits": right_bits}

    @_values.register
    def _(self, spec: Lookup) -> Dealt:
        payload = None if spec.payload is None else self._masks.get(spec.payload)
        return self._points(spec, self._masks.get(spec.index), payload, spec.bits, spec.levels)

    @_values.register
    def _(self, spec: Curve) -> Dealt:
        rho = reduce(self._masks.get(spec.opened), spec.width)
        bits = spec.width - spec.low
        return self._points(spec, rho >> np.uint64(spec.low), rho, bits, bits)

    def _roots(self, spec: Spec) -> tuple[kernels.U8, kernels.U8]:
        """Both parties' root seeds (K, 16) of a key."""
        ours, theirs = (
            self._draw(role, spec, "key").view(np.uint8).reshape(-1, 16)
            for role in (CLIENT, SERVER)
        )
        return ours, theirs

    def _points(
        self, spec: Spec, alpha: Words, payload: Words | None, bits: int, levels: int
    ) -> Dealt:
        """Point functions at alpha, with values (1, payload)."""
        values = np.zeros((alpha.size, 2), np.uint64)
        values[:, 0] = 1
        if payload is not None:
            values[:, 1] = payload.reshape(-1)
        seeds, controls, words = kernels.dpf_generate(
            *self._roots(spec), alpha.reshape(-1), values, bits, levels
        )
        return {
            "seed_words": seeds.view(np.uint64).reshape(alpha.size, bits, 2),
            "bit_words": controls.astype(np.uint64),
            "value_words": words,
        }

    @_values.register
    def _(self, spec: Harmonics) -> Dealt:
        rho, out = self._masks.get(spec.opened), Dealt()
        for order in spec.orders:
            cos, sin = kernels.phasor(rho, spec.period, order, spec.scale)
            out |= {f"cos{order}": cos, f"sin{order}": sin}
        return out
