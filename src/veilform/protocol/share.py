"""Into and out of sharing: a value made preshared, a client's value masked, an answer revealed."""

from __future__ import annotations

from veilform.correlation import specs
from veilform.masks import MaskRef
from veilform.protocol.cost import Cost, declares, sent
from veilform.protocol.effects import Protocol, Take, Transfer
from veilform.protocol.party import Party
from veilform.ring import reduce
from veilform.roles import CLIENT, SERVER
from veilform.values import Additive, Array, Opened, Preshared


def _preshare_cost(me: Party, x: Additive) -> Cost:
    return Cost(up=sent(x.shape, x.bits))


@declares(_preshare_cost)
def preshare(me: Party, x: Additive) -> Protocol[Preshared]:
    """Fixes the client's share to a fresh mask r: the client sends its share minus r.

    Also how an input enters: the client's share is the input and the server's is 0.
    What each sees: the server one uniform array, the client nothing.
    """
    name = me.fresh("preshare")
    taken = yield Take(specs.Preshare(name, x.shape, x.bits))
    if me.role is CLIENT:
        r = taken["mask"]
        yield Transfer(x.shape, x.bits, (CLIENT,), me.mix(x.share, r, negate_b=True))
        return Preshared(r, MaskRef(name), x.bits)
    masked = yield Transfer(x.shape, x.bits, (CLIENT,))
    return Preshared(me.mix(masked, x.share, bits=x.bits), MaskRef(name), x.bits)


def _mask_private_cost(me: Party, value: Array | None, shape: tuple[int, ...], bits: int) -> Cost:
    return Cost(up=sent(shape, bits))


@declares(_mask_private_cost)
def mask_private(
    me: Party, value: Array | None, shape: tuple[int, ...], bits: int
) -> Protocol[Opened]:
    """Opens a value that the client knows under a mask of the client's: y = value + rho.

    Args:
        value: the client's array; None at the server.
        bits: of the ring.
    """
    name = me.fresh("open")
    taken = yield Take(specs.Open(name, shape, bits, bits, (CLIENT,)))
    if me.role is CLIENT:
        assert value is not None
        y = reduce(value + taken["rho"], bits)
        yield Transfer(shape, bits, (CLIENT,), y)
        return Opened(name, y, 0, taken["rho"], None, bits)
    y = yield Transfer(shape, bits, (CLIENT,))
    return Opened(name, y, 0, me.zeros(shape), None, bits)


def _reveal_cost(me: Party, x: Additive | Preshared) -> Cost:
    return Cost(down=sent(x.shape, x.bits))


@declares(_reveal_cost)
def reveal(me: Party, x: Additive | Preshared) -> Protocol[Array | None]:
    """The client learns x exactly, the server nothing.

    Returns:
        At the client x, as an element of its ring; None at the server.
    """
    if me.role is SERVER:
        yield Transfer(x.shape, x.bits, (SERVER,), x.share)
        return None
    theirs = yield Transfer(x.shape, x.bits, (SERVER,))
    return reduce(x.share + theirs, x.bits)
