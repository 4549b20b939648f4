"""Sums of products of opened values, for fewer of the dealer's words than one product each.

Both are what `multiply` gives for each product, and added up. The parts without a wrap (q q) are
linear in the masks, so the dealer adds those up before it shares them. What comes with a public g
of each element, the products with an h, must stay apart.
"""

from __future__ import annotations

import numpy as np

from veilform.correlation import specs
from veilform.protocol.cost import Cost, declares
from veilform.protocol.effects import Protocol, Take
from veilform.protocol.multiply import repeated
from veilform.protocol.party import Party
from veilform.roles import SERVER
from veilform.values import Additive, Opened


def _dealt(spec: specs.AnySpec) -> Cost:
    return Cost(dealt_server=specs.dealt_bytes(spec, SERVER))


def _difference_spec(name: str, a: Opened, b: Opened, c: Opened) -> specs.Difference:
    shape = np.broadcast_shapes(a.shape, b.shape, c.shape)
    widths = tuple(x.lifted_from for x in (a, b, c))
    return specs.Difference(name, shape, min(a.bits, b.bits, c.bits), a.ref, b.ref, c.ref, *widths)


@declares(lambda me, a, b, c: _dealt(_difference_spec("", a, b, c)))
def multiply_difference(me: Party, a: Opened, b: Opened, c: Opened) -> Protocol[Additive]:
    """(a - b) c elementwise; any of them may have axes of length 1 where others have more."""
    spec = _difference_spec(me.fresh("difference"), a, b, c)
    taken = yield Take(spec)
    shape = spec.shape
    a, c = repeated(me, a, shape), repeated(me, c, shape)
    b = repeated(me, b, (*shape[:-1], b.shape[-1]))
    plus = me.opened_product(
        a, c, qq=taken["qq"], qh=taken.get("qh"), hq=taken.get("aq"), hh=taken.get("ah")
    )
    minus = me.opened_product(c, b, qq=me.zeros(shape), qh=taken.get("bq"), hh=taken.get("bh"))
    return Additive(me.mix(plus, minus, negate_b=True), spec.bits)


def _inner_spec(name: str, a: Opened, b: Opened) -> specs.Inner:
    shape = np.broadcast_shapes(a.shape, b.shape)
    widths = a.lifted_from, b.lifted_from
    return specs.Inner(name, shape, min(a.bits, b.bits), a.ref, b.ref, *widths)


@declares(lambda me, a, b: _dealt(_inner_spec("", a, b)))
def inner(me: Party, a: Opened, b: Opened) -> Protocol[Additive]:
    """The sum over the last axis, kept as one of length 1, of a b elementwise.

    Other than in a matrix product, factors may be lifted. Either may have axes of length 1.
    """
    spec = _inner_spec(me.fresh("inner"), a, b)
    taken = yield Take(spec)
    a, b = repeated(me, a, spec.shape), repeated(me, b, spec.shape)
    parts = me.opened_product(
        a, b, qq=me.zeros(spec.shape),
        qh=taken.get("qh"), hq=taken.get("hq"), hh=taken.get("hh"),
    )  # fmt: skip
    return Additive(parts.sum(-1, keepdims=True) + taken["qq"], spec.bits)
