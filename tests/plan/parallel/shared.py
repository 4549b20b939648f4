"""Models and clusters for these tests, and where the paper's data is."""

from __future__ import annotations

from pathlib import Path

from tests.scripts import shared

from veilform.plan.parallel import Cluster, Layer, LayerProfile, Node, Timing

FAST = Node("fast", 2, inside_gbps=100, between_gbps=10, memory_gb=16, memory_gb_s=900)
SLOW = Node("slow", 2, inside_gbps=50, between_gbps=40, memory_gb=12)


def amp_data() -> Path:
    """Folder of the paper's profiles and trials; skips the test where there is none."""
    return shared("amp")


def small_profile(layers: int = 6, micro_batches: tuple[int, ...] = (1,)) -> LayerProfile:
    """A language model of few layers, timed on two kinds of device."""
    layer = Layer(
        "transformer", parameters=4e6, output=1e6, reduced=2e6, kept_bytes=1e8, kept_split_bytes=2e8
    )
    ends = (
        Layer("embedding", shared=9e6, output=1e6),
        Layer("head", shared=9e6, output=5e6, output_split=True),
    )
    timings = [
        Timing(device, tp, m, (1e-3 * pace, *[4e-3 * pace * (0.2 + 0.8 * m)
               * (0.4 + 0.6 / tp)] * (layers - 2), 2e-3 * pace * m / tp))
        for device, pace in (("fast", 1.0), ("slow", 2.0))
        for tp in (1, 2)
        for m in micro_batches
    ]  # fmt: skip
    return LayerProfile("small", (ends[0], *[layer] * (layers - 2), ends[1]), tuple(timings))


def mixed() -> Cluster:
    """Two fast and two slow machines of two devices each."""
    return Cluster([FAST, FAST, SLOW, SLOW])
