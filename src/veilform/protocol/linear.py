"""Linear layers whose weights only the server knows.

Set-up, once a model: W = P - s, where P comes from a seed of server and client and s is what the
server gives the dealer. Each of the two alone is uniform, so neither learns W.

Offline, for Z = sum_i X_i W_i with masks r_i: the dealer shares sum_i r_i s_i = A_C + A_S, and the
client sends the correction sum_i r_i P_i - A_C - r_Z. Then correction - A_S = sum_i r_i W_i - r_Z.
Online the server, holding X_i - r_i, computes sum_i (X_i - r_i) W_i + (correction - A_S) + b,
which is Z - r_Z. Nothing is sent.

"Product" may be any bilinear map, such as Winograd's convolution (``veilform.winograd``), and each
X_i W_i is taken through linear views before it is added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from veilform.correlation import specs
from veilform.masks import AnyView, MaskRef, Tiled
from veilform.protocol.cost import Cost, dealt, declares
from veilform.protocol.effects import Protocol, Take
from veilform.protocol.party import Party
from veilform.roles import CLIENT, SERVER
from veilform.shapes import Abstract
from veilform.values import Array, Preshared, Weight


class Product(NamedTuple):
    """An input times a weight, perhaps ``by`` Winograd's transforms, seen through ``then``."""

    x: Preshared
    weight: Weight
    then: tuple[AnyView, ...] = ()
    by: Tiled | None = None


Terms = Sequence[Product | tuple[Preshared, Weight]]


def _described(terms: Terms) -> tuple[specs.Term, ...]:
    return tuple(
        specs.Term(p.x.mask, p.x.shape, p.weight.name, p.weight.shape, p.then, p.by)
        for p in (Product(*term) for term in terms)
    )


def _out_shape(described: Sequence[specs.Term]) -> tuple[int, ...]:
    first = described[0]
    return first.seen(Abstract(first.product)).shape


def _linear_cost(me: Party, terms: Terms, bits: int, bias: Array | None = None) -> Cost:
    described = _described(terms)
    out = dealt(_out_shape(described), bits)
    work = sum(term.multiply_adds for term in described)
    return Cost(
        dealt_server=out,
        correction=out,
        server_multiply_adds=work if me.role is SERVER else 0,
    )


@declares(_linear_cost)
def linear(me: Party, terms: Terms, bits: int, bias: Array | None = None) -> Protocol[Preshared]:
    """Z = sum_i X_i W_i + b mod 2^bits; a vector weight multiplies elementwise.

    Args:
        terms: inputs (..., in), in rings of ``bits`` bits or more; weights (in, out) or (out,); or
            inputs (T, ..., in) and weights (T, in, out), a product for each of the first axis; or
            images and their transformed kernels.
        bits: of the ring of Z.
        bias: the server's, at the scale of Z; None elsewhere.

    Raises:
        ValueError: an input lives in a smaller ring.
    """
    if any(Product(*term).x.bits < bits for term in terms):
        raise ValueError(f"a linear layer in a ring of {bits} bits has an input of fewer")
    described = _described(terms)
    name, shape = me.fresh("linear"), _out_shape(described)
    taken = yield Take(specs.Linear(name, shape, bits, described))
    if me.role is CLIENT:
        return Preshared(taken["mask"], MaskRef(name), bits)
    z = me.mix(taken["correction"], taken["share"], negate_b=True)
    if bias is not None:
        z += bias
    for (x, weight, *_), term in zip(terms, described, strict=True):
        if term.then:
            z += term.seen(me.apply(x.share, weight, bits, term.by))
        else:
            z = me.apply(x.share, weight, bits, term.by, z)
    return Preshared(z, MaskRef(name), bits)
