"""A function of one variable on large arrays: equal segments of a window, a line on either side.

x is opened once, as y = x + rho mod 2^w; what chooses a cell are the upper bits of y and of rho,
whose difference is the cell of x or the next. The dealer's point function is at the upper bits of
rho, with rho as payload, and with A and B of the segment and B rho shared, as in
:mod:`veilform.protocol.lookup`, A + B x follows without another message.

The node of the point function's tree that serves x also knows whether x + rho went round the ring
of w bits: that follows from where its segment lies and from y. So the answer may be in a larger
ring than x, without a lift.
"""

from __future__ import annotations

import math

from veilform.correlation import specs
from veilform.protocol.cost import Cost, declares
from veilform.protocol.effects import Protocol, Take
from veilform.protocol.party import Party
from veilform.protocol.tables import Curve
from veilform.values import Additive, Opened


def _curve_cost(me: Party, x: Opened, table: Curve) -> Cost:
    keys = math.prod(x.shape) * table.bits * (17 + 2 * ((table.ring + 7) // 8))
    return Cost(dealt_client=keys, dealt_server=keys)


@declares(_curve_cost)
def curve(me: Party, x: Opened, table: Curve) -> Protocol[Additive]:
    """f(x) elementwise, in the table's ring and at its scale; x was opened in a ring of its width.

    Right for every x but those in the ring's highest cell of 2^low units, [2^(w-1) - 2^low,
    2^(w-1)), which may be taken for the lowest.

    Raises:
        ValueError: x was lifted, or opened in another ring.
    """
    if x.shift or x.bits != table.width:
        raise ValueError(f"a curve over {table.width} bits takes a value opened in such a ring")
    count, half = math.prod(x.shape), 1 << (table.width - 1)
    name = me.fresh("curve")
    taken = yield Take(specs.Curve(name, count, table.width, table.low, table.ring, x.ref))
    cell = me.mix(x.y, plus=half, bits=table.width, right=table.low)
    found = me.curve(taken, table.bits, cell.reshape(-1), table)
    y = me.mix(x.y, plus=half, bits=table.width, then=-half).reshape(-1)
    value = found[:, 0] + found[:, 1] * y - found[:, 2]
    return Additive(value.reshape(*x.shape), table.ring)
