"""Into and out of sharing: a value made preshared, a client's value masked, an answer revealed."""

from __future__ import annotations

from veilform.correlation import specs
from veilform.masks import MaskRef
from veilform.protocol.cost import Cost, declares, sent
from veilform.protocol.effects import Protocol, Take, Transfer
from veilform.protocol.party import Party
from veilform.roles import CLIENT, SERVER
from veilform.values import Additive, Array, Opened, Preshared


def _preshare_cost(me: Party, x: Additive) -> Cost:
    return Cost(up=sent(x.shape, me.ring.bits))


@declares(_preshare_cost)
def preshare(me: Party, x: Additive) -> Protocol[Preshared]:
    """Fixes the client's share to a fresh mask r: the client sends its share minus r.

    Also how an input enters: the client's share is the input and the server's is 0.
    What each sees: the server one uniform array, the client nothing.
    """
    name = me.fresh("preshare")
    taken = yield Take(specs.Preshare(name, x.shape))
    k = me.ring.bits
    if me.role is CLIENT:
        r = taken["mask"]
        yield Transfer(x.shape, k, (CLIENT,), me.ring.reduce(x.share - r))
        return Preshared(r, MaskRef(name))
    masked = yield Transfer(x.shape, k, (CLIENT,))
    return Preshared(me.ring.reduce(masked + x.share), MaskRef(name))


def _mask_private_cost(me: Party, value: Array | None, shape: tuple[int, ...]) -> Cost:
    return Cost(up=sent(shape, me.ring.bits))


@declares(_mask_private_cost)
def mask_private(me: Party, value: Array | None, shape: tuple[int, ...]) -> Protocol[Opened]:
    """Opens a value that the client knows under a mask of the client's: y = value + rho.

    Args:
        value: the client's array; None at the server.
    """
    name, k = me.fresh("open"), me.ring.bits
    taken = yield Take(specs.Open(name, shape, k, 0, (CLIENT,)))
    if me.role is CLIENT:
        assert value is not None
        y = me.ring.reduce(value + taken["rho"])
        yield Transfer(shape, k, (CLIENT,), y)
        return Opened(name, y, 0, taken["rho"], None)
    y = yield Transfer(shape, k, (CLIENT,))
    return Opened(name, y, 0, me.zeros(shape), None)


def _reveal_cost(me: Party, x: Additive | Preshared) -> Cost:
    return Cost(down=sent(x.shape, me.ring.bits))


@declares(_reveal_cost)
def reveal(me: Party, x: Additive | Preshared) -> Protocol[Array | None]:
    """The client learns x exactly, the server nothing. Returns x at the client, None elsewhere."""
    if me.role is SERVER:
        yield Transfer(x.shape, me.ring.bits, (SERVER,), x.share)
        return None
    theirs = yield Transfer(x.shape, me.ring.bits, (SERVER,))
    return me.ring.reduce(x.share + theirs)
