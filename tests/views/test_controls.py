"""The enumeration finds leaks: protocols that are wrong on purpose."""

from __future__ import annotations

import numpy as np
import pytest
from tests.views.enumeration import Enumeration
from tests.views.test_exhaustive import assert_blind, everything

from veilform.correlation import specs
from veilform.protocol.effects import BOTH, Take, Transfer
from veilform.protocol.share import preshare
from veilform.roles import CLIENT, SERVER
from veilform.values import Additive


def unmasked(me, a):
    yield Transfer(a.shape, 3, BOTH, a.share)


def one_mask_for_two_values(me, a, b):
    taken = yield Take(specs.Open("open:0", a.shape, 3, 0, BOTH))
    for held in (a, b):
        yield Transfer(a.shape, 3, BOTH, me.ring.reduce(held.share + taken["rho"]))


def a_mask_that_misses_a_bit(me, a):
    taken = yield Take(specs.Open("open:0", a.shape, 3, 0, BOTH))
    rho = taken["rho"] & np.uint64(0b110)
    yield Transfer(a.shape, 3, BOTH, me.ring.reduce(a.share + rho))


def a_mask_that_the_peer_has(me, a):
    """The client's mask of a preshared value, used by the server to mask its share."""
    x = yield from preshare(me, a)
    if me.role is CLIENT:
        yield Transfer(a.shape, 3, (SERVER,))
    else:
        yield Transfer(a.shape, 3, (SERVER,), x.share)


def a_carry_without_its_flip(me, a):
    """A truncation's bit e sent as it is."""
    x = yield from preshare(me, a)
    mine = None if me.role is CLIENT else me.ring.msb(me.ring.reduce(x.share))
    yield Transfer(a.shape, 1, (SERVER,), mine)


@pytest.mark.parametrize(
    "program",
    [unmasked, a_mask_that_misses_a_bit, a_mask_that_the_peer_has, a_carry_without_its_flip],
)
def test_leaks_of_one_value(program) -> None:
    with pytest.raises(AssertionError, match=r"the client, holding .* can tell"):
        assert_blind(Enumeration(program, 3), CLIENT, everything(3), [(1,)])


def test_a_mask_used_twice() -> None:
    space = Enumeration(one_mask_for_two_values, 3, [(), ()])
    with pytest.raises(AssertionError, match="can tell"):
        assert_blind(space, SERVER, everything(3, 2), [(0, 0)])


def test_one_stream_for_two_fields() -> None:
    def program(me, a):
        yield Take(specs.Preshare("twice", a.shape))
        yield Take(specs.Preshare("twice", a.shape))
        return Additive(a.share)

    with pytest.raises(AssertionError, match="expanded for two fields"):
        Enumeration(program, 3)
