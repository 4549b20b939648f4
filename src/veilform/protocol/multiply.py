"""Products of opened values: squares, elementwise, of matrices. None of them sends anything.

With x = p - q + g h (see Opened), every product is linear in the dealer's shared products of q, h.
A product lives in the smaller of its factors' rings.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from veilform.correlation import specs
from veilform.protocol.cost import Cost, dealt, declares
from veilform.protocol.effects import Protocol, Take
from veilform.protocol.party import Party
from veilform.roles import CLIENT, SERVER
from veilform.values import Additive, Array, Opened


def _square_cost(me: Party, x: Opened) -> Cost:
    qh = dealt(x.shape, x.bits - x.width) if x.shift else 0
    return Cost(dealt_server=dealt(x.shape, x.bits) + qh)


@declares(_square_cost)
def square(me: Party, x: Opened) -> Protocol[Additive]:
    """x^2 elementwise."""
    taken = yield Take(specs.Square(me.fresh("square"), x.shape, x.ref, x.width, x.bits))
    return Additive(me.opened_square(x, **taken), x.bits)


def _multiply_cost(me: Party, a: Opened, b: Opened) -> Cost:
    bits = min(a.bits, b.bits)
    widths = [bits]
    if b.shift:
        widths.append(bits - b.width)
    if a.shift:
        widths.append(bits - a.width)
    if a.shift and b.shift:
        widths.append(bits - a.width - b.width)
    shape = np.broadcast_shapes(a.shape, b.shape)
    return Cost(dealt_server=sum(dealt(shape, width) for width in widths if width > 0))


@declares(_multiply_cost)
def multiply(me: Party, a: Opened, b: Opened) -> Protocol[Additive]:
    """a b elementwise. Either may have axes of length 1 where the other has more."""
    bits, shape = min(a.bits, b.bits), np.broadcast_shapes(a.shape, b.shape)
    name = me.fresh("product")
    spec = specs.Product(name, shape, bits, a.ref, b.ref, a.lifted_from, b.lifted_from)
    taken = yield Take(spec)
    a = repeated(me, a, shape)
    # The kernel itself repeats a last axis of 1.
    b = repeated(me, b, (*shape[:-1], b.shape[-1]))
    return Additive(me.opened_product(a, b, **taken), bits)


def repeated(me: Party, x: Opened, shape: tuple[int, ...]) -> Opened:
    """x with the parts that a product takes repeated to a larger shape."""
    if x.shape == shape:
        return x
    h = None if x.h is None else me.repeat(x.h, shape)
    return replace(x, y=me.repeat(x.y, shape), q=me.repeat(x.q, shape), h=h)


def _matmul_cost(me: Party, a: Opened, b: Opened) -> Cost:
    shape = (*a.shape[:-1], b.shape[-1])
    work = 2 * math.prod(a.shape) * b.shape[-1]
    return Cost(
        dealt_server=dealt(shape, min(a.bits, b.bits)),
        client_multiply_adds=work if me.role is CLIENT else 0,
        server_multiply_adds=work if me.role is SERVER else 0,
    )


@declares(_matmul_cost)
def matmul(me: Party, a: Opened, b: Opened) -> Protocol[Additive]:
    """(..., m, k) by (..., k, n), neither of them lifted; b's leading axes may be 1.

    share = lead A B - A [rho_b] - [rho_a] B + [rho_a rho_b] with A, B public. A lifted value
    cannot be a factor: its carry would sit inside the sum.

    Raises:
        ValueError: a factor was lifted.
    """
    if a.shift or b.shift:
        raise ValueError("a matrix product takes values opened in their own ring")
    shape, bits = (*a.shape[:-1], b.shape[-1]), min(a.bits, b.bits)
    taken = yield Take(specs.MatMul(me.fresh("matmul"), shape, bits, a.shape[-1], a.ref, b.ref))
    lead = (*a.shape[:-2], *b.shape[-2:])
    right, mask = me.repeat(b.y, lead), me.repeat(b.q, lead)
    if me.lead:
        mask = mask - right
    crossed: Array = me.matmul(a.q, right, bits, me.matmul(a.y, mask, bits))
    return Additive(me.mix(taken["product"], crossed, negate_b=True), bits)
