"""Products of opened values: squares, elementwise, of matrices. None of them sends anything.

With x = p - q + g h (see Opened), every product is linear in the dealer's shared products of q, h.
"""

from __future__ import annotations

import math

from veilform.correlation import specs
from veilform.protocol.cost import Cost, dealt, declares
from veilform.protocol.effects import Protocol, Take
from veilform.protocol.party import Party
from veilform.roles import CLIENT, SERVER
from veilform.values import Additive, Array, Opened


def _square_cost(me: Party, x: Opened) -> Cost:
    qh = dealt(x.shape, x.shift) if x.shift else 0
    return Cost(dealt_server=dealt(x.shape, me.ring.bits) + qh)


@declares(_square_cost)
def square(me: Party, x: Opened) -> Protocol[Additive]:
    """x^2 elementwise."""
    taken = yield Take(specs.Square(me.fresh("square"), x.shape, x.ref, x.shift))
    return Additive(me.opened_square(x.y, x.shift, x.q, x.h, **taken))


def _multiply_cost(me: Party, a: Opened, b: Opened) -> Cost:
    k, widths = me.ring.bits, [me.ring.bits, a.shift, b.shift]
    if a.shift and b.shift and a.shift + b.shift > k:
        widths.append(a.shift + b.shift - k)
    return Cost(dealt_server=sum(dealt(a.shape, width) for width in widths if width))


@declares(_multiply_cost)
def multiply(me: Party, a: Opened, b: Opened) -> Protocol[Additive]:
    """a b elementwise. b has a's shape but for axes of length 1, the last among them or not."""
    spec = specs.Product(me.fresh("product"), a.shape, a.ref, b.ref, a.shift, b.shift)
    taken = yield Take(spec)
    wanted = (*a.shape[:-1], b.shape[-1])
    if b.shape != wanted:
        h = None if b.h is None else me.repeat(b.h, wanted)
        b = Opened(b.name, me.repeat(b.y, wanted), b.shift, me.repeat(b.q, wanted), h, b.views)
    return Additive(me.opened_product(a, b, **taken))


def _matmul_cost(me: Party, a: Opened, b: Opened) -> Cost:
    shape = (*a.shape[:-1], b.shape[-1])
    work = 2 * math.prod(a.shape) * b.shape[-1]
    return Cost(
        dealt_server=dealt(shape, me.ring.bits),
        client_multiply_adds=work if me.role is CLIENT else 0,
        server_multiply_adds=work if me.role is SERVER else 0,
    )


@declares(_matmul_cost)
def matmul(me: Party, a: Opened, b: Opened) -> Protocol[Additive]:
    """(..., m, k) by (..., k, n), both opened without truncation; b's leading axes may be 1.

    share = lead A B - A [rho_b] - [rho_a] B + [rho_a rho_b] with A, B public. A truncation cannot
    ride here: its carry would sit inside the sum. Leave the operands at a wider scale.
    """
    if a.shift or b.shift:
        raise ValueError("a matrix product takes values opened without truncation")
    shape = (*a.shape[:-1], b.shape[-1])
    taken = yield Take(specs.MatMul(me.fresh("matmul"), shape, a.shape[-1], a.ref, b.ref))
    lead = (*a.shape[:-2], *b.shape[-2:])
    right, mask = me.repeat(b.y, lead), me.repeat(b.q, lead)
    if me.lead:
        mask = mask - right
    crossed: Array = me.matmul(a.y, mask) + me.matmul(a.q, right)
    return Additive(me.ring.reduce(taken["product"] - crossed))
