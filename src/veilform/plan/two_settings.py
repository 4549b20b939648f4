"""A network's convolutions in two settings, side by side: with a dealer, as here, and without."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from veilform.models.vision.network import Network
from veilform.models.vision.scaling import VisionScales
from veilform.plan.convolution import (
    ConvolutionCost,
    DealerFree,
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


def _both(network: Network, scales: VisionScales, free: DealerFree) -> Iterator[Both]:
    shapes = network.wires()
    for step, at in zip(network.steps, scales.steps, strict=True):
        for branch, tile in zip(step.branches, at.tiles, strict=True):
            if branch.conv is not None:
                height, width, _ = shapes[branch.source]
                ring = at.ring - at.carried
                dealt = with_dealer(branch.conv, height, width, tile, ring=ring)
                yield Both(branch.name, tile, dealt, free.chosen.get(branch.name))


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
