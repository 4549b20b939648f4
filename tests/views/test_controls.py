"""The enumeration finds leaks: protocols that are wrong on purpose."""

from __future__ import annotations

import numpy as np
import pytest
from tests.views.enumeration import Enumeration
from tests.views.test_exhaustive import assert_blind, everything

from veilform.correlation import specs
from veilform.protocol.effects import BOTH, Take, Transfer
from veilform.protocol.share import preshare
from veilform.protocol.truncate import drop
from veilform.roles import CLIENT, SERVER
from veilform.values import Additive


def unmasked(me, a):
    yield Transfer(a.shape, 3, BOTH, a.share)


def one_mask_for_two_values(me, a, b):
    taken = yield Take(specs.Open("open:0", a.shape, 3, 3, BOTH))
    for held in (a, b):
        yield Transfer(a.shape, 3, BOTH, held.share + taken["rho"])


def a_mask_that_misses_a_bit(me, a):
    taken = yield Take(specs.Open("open:0", a.shape, 3, 3, BOTH))
    rho = taken["rho"] & np.uint64(0b110)
    yield Transfer(a.shape, 3, BOTH, a.share + rho)


def a_mask_that_the_peer_has(me, a):
    """The client's mask of a preshared value, used by the server to mask its share."""
    x = yield from preshare(me, a)
    if me.role is CLIENT:
        yield Transfer(a.shape, 3, (SERVER,))
    else:
        yield Transfer(a.shape, 3, (SERVER,), x.share)


def what_a_drop_leaves_behind(me, a):
    """The low bits of the server's share of a preshared value, which a drop throws away."""
    x = yield from preshare(me, a)
    yield Transfer(a.shape, 2, (SERVER,), None if me.role is CLIENT else x.share)


def a_lift_without_its_mask(me, a):
    """The wrap of a lifted opening, h, told instead of shared."""
    taken = yield Take(specs.Open("open:0", a.shape, 3, 4, BOTH))
    yield Transfer(a.shape, 3, BOTH, a.share + taken["rho"])
    yield Transfer(a.shape, 1, BOTH, taken["h"])


@pytest.mark.parametrize(
    "program",
    [
        unmasked,
        a_mask_that_misses_a_bit,
        a_mask_that_the_peer_has,
        what_a_drop_leaves_behind,
        a_lift_without_its_mask,
    ],
)
def test_leaks_of_one_value(program) -> None:
    with pytest.raises(AssertionError, match=r"the client, holding .* can tell"):
        assert_blind(Enumeration(program, 3), CLIENT, everything(3), [(1,)])


def test_a_mask_used_twice() -> None:
    space = Enumeration(one_mask_for_two_values, 3, [(), ()])
    with pytest.raises(AssertionError, match="can tell"):
        assert_blind(space, SERVER, everything(3, 2), [(0, 0)])


def a_mask_dropped_and_used_again(me, a, b):
    """The client's mask of one value, less a bit, as its mask of another."""
    x = yield from preshare(me, a)
    again = drop(me, x, 1)
    yield Transfer((*b.shape,), 2, (CLIENT,), None if me.role is SERVER else b.share - again.share)


def test_a_dropped_mask_used_again() -> None:
    """A drop makes no fresh mask: what it leaves follows from the mask it was."""
    space = Enumeration(a_mask_dropped_and_used_again, [3, 2], [(), ()])
    secrets = [(x, y) for x in range(8) for y in range(4)]
    with pytest.raises(AssertionError, match=r"the server, holding .* can tell"):
        assert_blind(space, SERVER, secrets, [(0, 0)])


def one_opening_s_mask_dropped_for_another(me, a):
    """x opened under rho, and x less a bit under rho less a bit: together, the rounding."""
    taken = yield Take(specs.Open("open:0", a.shape, 3, 3, BOTH))
    yield Transfer(a.shape, 3, BOTH, a.share + taken["rho"])
    half = drop(me, a, 1)
    yield Transfer(a.shape, 2, BOTH, half.share + (taken["rho"] >> np.uint64(1)))


@pytest.mark.parametrize("seer", [CLIENT, SERVER])
def test_an_opening_s_mask_dropped_for_another_opening(seer) -> None:
    space = Enumeration(one_opening_s_mask_dropped_for_another, 3)
    with pytest.raises(AssertionError, match="can tell"):
        assert_blind(space, seer, everything(3), [(1,), (2,)])


def test_one_stream_for_two_fields() -> None:
    def program(me, a):
        yield Take(specs.Preshare("twice", a.shape, 3))
        yield Take(specs.Preshare("twice", a.shape, 3))
        return Additive(a.share, 3)

    with pytest.raises(AssertionError, match="expanded for two fields"):
        Enumeration(program, 3)
