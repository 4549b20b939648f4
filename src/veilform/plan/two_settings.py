"""A network's convolutions in two settings, side by side: with a dealer, as here, and without."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from veilform.models.sides import ServerSide
from veilform.models.vision.network import Branch, Network
from veilform.models.vision.scaling import VisionScales
from veilform.models.vision.sides import Side
from veilform.plan.convolution import (
    RATES,
    ConvolutionCost,
    DealerFree,
    Rates,
    Transferred,
    dealer_free,
    with_dealer,
)


class Both(NamedTuple):
    """One convolution of one image.

    Attributes:
        tile: m of its Winograd transform here; 0 if it is direct.
        dealt: its cost here.
        transferred: by oblivious transfer; None for a shortcut, which CoPriv does not count.
    """

    name: str
    tile: int
    dealt: ConvolutionCost
    transferred: Transferred | None


class Settings(NamedTuple):
    """All convolutions, and the network without a dealer."""

    convolutions: tuple[Both, ...]
    free: DealerFree

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``; bytes without a dealer are rounded up."""
        return {
            "direct_bytes": _bytes(self.free.direct),
            "best_bytes": _bytes(self.free.adaptive),
            "relu_and_truncation_bytes": _bytes(self.free.others),
            "times_fewer": round(self.free.saved, 4),
            "convolutions": {row.name: _row(row) for row in self.convolutions},
        }


def settings(network: Network, scales: VisionScales) -> Settings:
    """Both views of a network that is served with these scales."""
    free = dealer_free(network)
    return Settings(tuple(_both(network, scales, free)), free)


def viewed_seconds(side: ServerSide, batch: int, rates: Rates = RATES) -> float:
    """What one party takes to write the patches and tiles that products read; 0 without any.

    A rehearsal counts products alone: a view is none of its kinds of steps. Depthwise convolutions
    read views as they are.
    """
    if not isinstance(side, Side):
        return 0.0
    dealt = (
        cost.view_seconds(rates)
        for branch, _, cost in _dealt(side.network, side.scales, batch)
        if branch.conv is not None and not branch.conv.depthwise
    )
    return sum(dealt)


def _both(network: Network, scales: VisionScales, free: DealerFree) -> Iterator[Both]:
    for branch, tile, cost in _dealt(network, scales, 1):
        yield Both(branch.name, tile, cost, free.chosen.get(branch.name))


def _dealt(
    network: Network, scales: VisionScales, batch: int
) -> Iterator[tuple[Branch, int, ConvolutionCost]]:
    convolutions = network.convolutions()
    for step, at in zip(network.steps, scales.steps, strict=True):
        for branch, tile in zip(step.branches, at.tiles, strict=True):
            if branch.conv is not None:
                _, conv, (height, width, _) = next(convolutions)
                ring = at.ring - at.carried
                cost = with_dealer(conv, height, width, tile, batch=batch, ring=ring)
                yield branch, tile, cost


def _row(row: Both) -> dict[str, Any]:
    transferred = row.transferred
    return {
        "tile": row.tile,
        "multiply_adds": row.dealt.multiply_adds,
        "offline_bytes": row.dealt.offline_bytes,
        "without_dealer": None
        if transferred is None
        else {
            "tile": transferred.tile,
            "receiver": transferred.receiver,
            "bytes": _bytes(transferred.bits),
        },
    }


def _bytes(bits: int) -> int:
    return -(-bits // 8)
