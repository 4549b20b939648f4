"""The cost formulas of docs/protocols.md, sections 19 and 20, against traces."""

from __future__ import annotations

import math

import pytest

from veilform.drive.trace import trace
from veilform.kernels import Curve as Segments
from veilform.protocol.compare import arithmetic, at_least, outside, relu, row_max
from veilform.protocol.cost import Cost
from veilform.protocol.curve import curve
from veilform.protocol.opening import open_value
from veilform.protocol.share import preshare
from veilform.protocol.tables import Curve
from veilform.shapes import Abstract
from veilform.values import Additive


def w(bits: int) -> int:
    """Bytes of a word; none for no bits or fewer."""
    return (max(bits, 0) + 7) // 8


def c(n: int) -> int:
    """Bytes of a comparison's key on n bits."""
    levels = max(n - 7, 0)
    return 16 * (levels + 1) + w(levels)


def opening(n: int, k: int, bits: int) -> Cost:
    """Of an additive value of k bits, lifted if ``bits`` are more."""
    return Cost(n * w(k), n * w(k), dealt_server=n * (w(bits) + w(bits - k)) if bits > k else 0)


def compared(n: int, k: int, thresholds: int = 1) -> Cost:
    bits = thresholds * ((n + 7) // 8)
    return Cost(bits, bits, n * c(k - 1), n * c(k - 1))


def chosen(n: int, k: int, bits: int) -> Cost:
    return Cost(dealt_server=n * (2 * w(bits) + w(bits - k)) if bits > k else 2 * n * w(bits))


SHAPES = [(3, 5), (128, 40)]
RINGS = [(20, 20), (20, 32), (9, 64), (37, 40), (64, 64)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("k", "bits"), RINGS)
def test_relu(shape: tuple[int, ...], k: int, bits: int) -> None:
    n = math.prod(shape)
    found = trace(lambda me: relu(me, Additive(Abstract(shape), k), bits))
    wanted = opening(n, k, bits).plus(compared(n, k)).plus(chosen(n, k, bits))
    assert found.total == wanted
    assert found.messages == 4, "an opening and a bit, each way"


@pytest.mark.parametrize(("k", "bits"), RINGS)
def test_relu_of_a_preshared_value(k: int, bits: int) -> None:
    def program(me):
        x = yield from preshare(me, Additive(Abstract((3, 5)), k))
        return (yield from relu(me, x, bits))

    found, n = trace(program), 15
    wanted = opening(n, k, bits).plus(compared(n, k)).plus(chosen(n, k, bits))
    assert found.total == wanted, "the client's part of the opening went with the presharing"
    assert found.messages == 3, "the server's bits go with its opening"


@pytest.mark.parametrize("width", [None, 12])
def test_thresholds(width: int | None) -> None:
    def program(me):
        y = yield from open_value(me, Additive(Abstract((7, 9)), 20))
        bits = yield from at_least(me, y, (0, 5, 9), width)
        return (yield from arithmetic(me, bits[0], 11))

    found = trace(program)
    wanted = opening(63, 20, 20).plus(compared(63, width or 20, 3))
    assert found.total == wanted.plus(Cost(dealt_server=63 * w(11)))


def test_outside() -> None:
    def program(me):
        y = yield from open_value(me, Additive(Abstract((7, 9)), 20))
        return (yield from outside(me, y, -5, 5)).outside

    keys = 63 * c(20)
    wanted = opening(63, 20, 20).plus(Cost(8, 8, keys, keys + 3 * 63))
    assert trace(program).total == wanted


@pytest.mark.parametrize(
    ("d", "halves"), [(1, []), (2, [1]), (7, [4, 2, 1]), (128, [64, 32, 16, 8, 4, 2, 1])]
)
def test_row_max(d: int, halves: list[int]) -> None:
    found, total = trace(lambda me: row_max(me, Additive(Abstract((6, d)), 30))), Cost()
    for half in halves:
        n = 6 * half
        for part in (opening(n, 30, 30), compared(n, 30), chosen(n, 30, 30)):
            total = total.plus(part)
    assert found.total == total


@pytest.mark.parametrize(("width", "low", "ring"), [(20, 8, 28), (16, 4, 64), (40, 10, 40)])
def test_curve(width: int, low: int, ring: int) -> None:
    table = Curve(width, low, Segments(1, 2, 0, 0, None), 0, 0.0, ring)  # type: ignore[arg-type]

    def program(me):
        y = yield from open_value(me, Additive(Abstract((7, 9)), width))
        return (yield from curve(me, y, table))

    keys = 63 * (width - low) * (17 + 2 * w(ring))
    assert trace(program).total == opening(63, width, width).plus(Cost(0, 0, keys, keys))
