"""Seconds of a layer as a line over the micro-batch: a + b m."""

from __future__ import annotations

import numpy as np

from veilform.plan.parallel.cluster import ACTIVATION_BITS, BITS
from veilform.plan.parallel.profile import Floats, LayerProfile

LAUNCH_S = 1e-3
"""What a layer's forward pass takes however small its work, where only micro-batch 1 was timed:
some 50 operations, 20 microseconds from one start to the next."""


def affine(profile: LayerProfile, device: str, tp: int, inside: float) -> tuple[Floats, Floats]:
    """Fixed seconds a and seconds a sample b of each layer's forward pass.

    From several micro-batches: the least-squares line, neither part below 0; and the ring below, if
    tensor parallelism was emulated.

    From micro-batch 1 alone, of which nothing tells the two apart: the fixed part without tensor
    parallelism is LAUNCH_S, at most all. The rest is work. Over t devices the work is a t-th, and
    a ring sums ``reduced`` elements, 2 (t - 1) / t of them through each link; what the timing has
    beyond that is fixed.

    Args:
        profile: the timings.
        device: kind of device.
        tp: degree of tensor parallelism.
        inside: elements a second between two devices of a group.
    """
    timed = profile.seconds(device, tp)
    ring = 2 * (tp - 1) / (tp * inside) * profile.column("reduced") * ACTIVATION_BITS / BITS
    extra = ring if profile.emulated(device, tp) else 0
    if len(timed) > 1:
        fixed, slope = _line(np.array(list(timed), float), np.stack(list(timed.values())))
        return fixed, slope + extra
    ((micro_batch, seconds),) = timed.items()
    seconds = seconds + micro_batch * extra
    # Without a timing of tensor parallel 1 at this size, the work is all there is.
    alone = profile.seconds(device, 1).get(micro_batch) if profile.timed(device, 1) else None
    alone = seconds * tp if alone is None else alone
    work = np.maximum(alone - LAUNCH_S, 0) / micro_batch
    slope = np.minimum(work / tp + ring, seconds / micro_batch)
    return seconds - slope * micro_batch, slope


def _line(sizes: Floats, seconds: Floats) -> tuple[Floats, Floats]:
    """Least squares of (n, L) seconds on (n,) sizes; where one part is below 0, the other alone."""
    centre = sizes - sizes.mean()
    slope = centre @ seconds / (centre @ centre)
    fixed = seconds.mean(0) - slope * sizes.mean()
    through_zero = sizes @ seconds / (sizes @ sizes)
    slope, fixed = np.where(fixed < 0, through_zero, slope), np.maximum(fixed, 0)
    fixed = np.where(slope < 0, seconds.mean(0), fixed)
    return fixed, np.maximum(slope, 0)
