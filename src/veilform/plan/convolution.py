"""What convolutions cost, direct or by Winograd's transforms, in two settings; the cheaper way.

**With a dealer**, as here: the server knows its weights, so a convolution's bytes follow from its
output alone, and Winograd saves multiply-adds: at the server online, at client and dealer ahead. It
takes words that transforms write and weights that products read, and may take wider words. All of
these are counted exactly; rates turn them into seconds.

**Without a dealer**, as in CoPriv (arXiv 2311.01737): products are made by oblivious transfer, so
bits grow with multiplications. Each product has a receiver, whose operand's bits are the choices,
and either side may be it. The formulas and the settings are that paper's; ReLU and truncation are
estimates for the protocols of SIRNN (S&P 2021).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from veilform import winograd
from veilform.models.vision.network import Network
from veilform.nn.convolution import Convolution
from veilform.protocol.cost import dealt

SECURITY = 128
RING, SCALE = 41, 12
"""CoPriv's defaults: bits of the ring, fraction bits."""

WAYS = (0, 2, 4)
"""m of F(m x m, 3 x 3); 0 for a direct convolution."""


class Rates(NamedTuple):
    """Of one machine, a second each.

    Attributes:
        multiply_adds: of ring products.
        patched: words of patches.
        transformed: words of tiles and their products.
        weights: bytes of packed weights that products read.
    """

    multiply_adds: float = 2.6e10
    patched: float = 1.2e9
    transformed: float = 1.7e9
    weights: float = 2.2e10


class ConvolutionCost(NamedTuple):
    """One convolution of a batch with a dealer, by one way.

    Attributes:
        multiply_adds: of the server online; and once each of client and dealer ahead.
        patched: words of patches.
        transformed: words of tiles and their products.
        online_weights, offline_weights: bytes of packed weights, the server's and another's.
        offline_bytes: dealt and corrected, for the output in its ring.
    """

    multiply_adds: int
    patched: int
    transformed: int
    online_weights: int
    offline_weights: int
    offline_bytes: int

    def online_seconds(self, rates: Rates) -> float:
        """At the server."""
        return self._seconds(rates, self.online_weights)

    def offline_seconds(self, rates: Rates) -> float:
        """At client and dealer together."""
        return 2 * self._seconds(rates, self.offline_weights)

    def view_seconds(self, rates: Rates) -> float:
        """Of patches and tiles alone, for one party."""
        return self.patched / rates.patched + self.transformed / rates.transformed

    def _seconds(self, rates: Rates, weights: int) -> float:
        return (
            self.multiply_adds / rates.multiply_adds
            + self.view_seconds(rates)
            + weights / rates.weights
        )


RATES = Rates()
"""Of one core of the machine that bench/results/convolution.json is of, rounded."""


def with_dealer(
    conv: Convolution, height: int, width: int, tile: int = 0, *, batch: int = 1, ring: int = 40
) -> ConvolutionCost:
    """The exact cost of a convolution of images of height x width.

    Args:
        tile: m of Winograd's transform, or 0.
        ring: bits of the output's ring without what the transform carries.
    """
    pixels = conv.after(height) * conv.after(width)
    outputs = pixels * conv.outputs
    carried = winograd.TRANSFORMS[tile].shift if tile else 0
    weights = conv.outputs * conv.inputs // conv.groups
    if tile:
        how = winograd.TRANSFORMS[tile]
        down, across = (winograd.tiles_along(n, conv.padding, tile) for n in (height, width))
        patched, products = 0, how.size**2
        transformed = products * down * across * (conv.inputs + conv.outputs)
        weights *= products
        each = 2 if how.odd == 1 else 8
    else:
        patched, transformed, each = 0, 0, 2
        if conv.size > 1:
            patched = pixels * conv.size**2 * conv.inputs
        weights *= conv.size**2
    return ConvolutionCost(
        batch * conv.multiply_adds(height, width, tile),
        batch * patched,
        batch * transformed,
        each * weights,
        8 * weights,
        2 * dealt((batch * outputs,), ring + carried),
    )


def choose(
    network: Network, rates: Rates = RATES, batch: int = 1, ring: int = 40
) -> dict[str, int]:
    """By convolution, the way with the fewest seconds, online and ahead together; 0 is left out.

    Ties go to the direct one, and to the smaller tile.
    """
    chosen = {}
    for branch, conv, (height, width, _) in network.convolutions():
        ways = WAYS if conv.winograd else WAYS[:1]

        def seconds(
            tile: int, conv: Convolution = conv, at: tuple[int, int] = (height, width)
        ) -> float:
            cost = with_dealer(conv, *at, tile, batch=batch, ring=ring)
            return cost.online_seconds(rates) + cost.offline_seconds(rates)

        best = min(ways, key=seconds)
        if best:
            chosen[branch.name] = best
    return chosen


class Transferred(NamedTuple):
    """One convolution without a dealer: the way, whose operand is the choices, and the bits."""

    tile: int
    receiver: str
    bits: int


def product_bits(rows: int, inner: int, columns: int, bits: int = RING, ring: int = RING) -> int:
    """Of (rows x inner) by (inner x columns), the receiver holding the first, of ``bits`` bits.

    rows inner [128 bits + columns (bits (ring - bits) + (bits^2 + bits) / 2)]: one correlated
    transfer for each bit of the receiver's operand, of messages that shrink from bit to bit.
    """
    each = bits * (ring - bits) + (bits * bits + bits) // 2
    return rows * inner * (SECURITY * bits + columns * each)


def without_dealer(
    conv: Convolution, height: int, width: int, *, adaptive: bool = True
) -> Transferred:
    """The cheapest way of a convolution by oblivious transfer.

    Args:
        adaptive: choose among F(2, 3) and both receivers; else direct, the client receiving.
    """
    options = list(_options(conv, height, width))
    return min(options, key=lambda option: option.bits) if adaptive else options[0]


def _options(conv: Convolution, height: int, width: int) -> Iterator[Transferred]:
    pixels = conv.after(height) * conv.after(width)
    inner, outputs = conv.size**2 * conv.inputs // conv.groups, conv.outputs // conv.groups
    yield from _both(0, conv.groups, pixels, inner, outputs)
    if conv.winograd:
        down, across = (winograd.tiles_along(n, conv.padding, 2) for n in (height, width))
        yield from _both(2, winograd.F23.size**2, down * across, conv.inputs, conv.outputs)


def _both(tile: int, times: int, rows: int, inner: int, columns: int) -> Iterator[Transferred]:
    yield Transferred(tile, "client", times * product_bits(rows, inner, columns))
    yield Transferred(tile, "server", times * product_bits(columns, inner, rows))


RELU_BITS = SECURITY * RING + 18 * RING
TRUNCATION_BITS = SECURITY * (RING + SCALE + 2) + 19 * RING + 14 * SCALE


class DealerFree(NamedTuple):
    """A network by oblivious transfer, in bits.

    Attributes:
        direct, adaptive: of all convolutions but those of shortcuts, the plain way and the best.
        others: of ReLU and truncation.
        chosen: by convolution.
    """

    direct: int
    adaptive: int
    others: int
    chosen: Mapping[str, Transferred]

    @property
    def saved(self) -> float:
        """How many times fewer bits in total."""
        return (self.direct + self.others) / (self.adaptive + self.others)


def dealer_free(network: Network) -> DealerFree:
    """CoPriv's count: one ReLU and one truncation an element of a step's sum."""
    chosen: dict[str, Transferred] = {}
    direct = others = 0
    shapes = network.wires()
    for step in network.steps:
        # A block's shortcut is its last step's second branch.
        branch = step.branches[0]
        if branch.conv is None:
            continue
        height, width, _ = shapes[branch.source]
        chosen[branch.name] = without_dealer(branch.conv, height, width)
        direct += without_dealer(branch.conv, height, width, adaptive=False).bits
        elements = branch.conv.outputs * math.prod(map(branch.conv.after, (height, width)))
        others += elements * (TRUNCATION_BITS + (RELU_BITS if step.activation != "none" else 0))
    return DealerFree(direct, sum(each.bits for each in chosen.values()), others, chosen)
