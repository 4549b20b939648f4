"""Linear layers whose weights only the server knows.

Set-up, once a model: W = P - s, where P comes from a seed of server and client and s is what the
server gives the dealer. Each of the two alone is uniform, so neither learns W.

Offline, for Z = sum_i X_i W_i with masks r_i: the dealer shares sum_i r_i s_i = A_C + A_S, and the
client sends the correction sum_i r_i P_i - A_C - r_Z. Then correction - A_S = sum_i r_i W_i - r_Z.
Online the server, holding X_i - r_i, computes sum_i (X_i - r_i) W_i + (correction - A_S) + b,
which is Z - r_Z. Nothing is sent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from veilform.correlation import specs
from veilform.masks import MaskRef
from veilform.protocol.cost import Cost, dealt, declares
from veilform.protocol.effects import Protocol, Take
from veilform.protocol.party import Party
from veilform.roles import CLIENT, SERVER
from veilform.values import Array, Preshared, Weight

Terms = Sequence[tuple[Preshared, Weight]]


def _out_shape(terms: Terms) -> tuple[int, ...]:
    x, weight = terms[0]
    return (*x.shape[:-1], weight.shape[-1])


def _linear_cost(me: Party, terms: Terms, bits: int, bias: Array | None = None) -> Cost:
    out = dealt(_out_shape(terms), bits)
    work = sum(math.prod(x.shape) * w.shape[1] for x, w in terms if len(w.shape) == 2)
    return Cost(
        dealt_server=out,
        correction=out,
        server_multiply_adds=work if me.role is SERVER else 0,
    )


@declares(_linear_cost)
def linear(me: Party, terms: Terms, bits: int, bias: Array | None = None) -> Protocol[Preshared]:
    """Z = sum_i X_i W_i + b mod 2^bits; a vector weight multiplies elementwise.

    Args:
        terms: inputs (..., in), in rings of ``bits`` bits or more; weights (in, out) or (out,).
        bits: of the ring of Z.
        bias: the server's, at the scale of Z; None elsewhere.

    Raises:
        ValueError: an input lives in a smaller ring.
    """
    if any(x.bits < bits for x, _ in terms):
        raise ValueError(f"a linear layer in a ring of {bits} bits has an input of fewer")
    name, shape = me.fresh("linear"), _out_shape(terms)
    described = tuple(specs.Term(x.mask, x.shape, w.name, w.shape) for x, w in terms)
    taken = yield Take(specs.Linear(name, shape, bits, described))
    if me.role is CLIENT:
        return Preshared(taken["mask"], MaskRef(name), bits)
    z = me.mix(taken["correction"], taken["share"], negate_b=True)
    if bias is not None:
        z += bias
    for x, weight in terms:
        z = me.apply(x.share, weight, bits, z)
    return Preshared(z, MaskRef(name), bits)
