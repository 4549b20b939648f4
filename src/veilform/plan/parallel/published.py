"""The cost model of AMP (Li et al. 2022, arXiv 2210.07297), as its published code computes it.

With e_l = 3 m f_l: forward seconds f of layer l at micro-batch 1, times the micro-batch m, and a
backward pass that takes twice the forward. Unlike kinds of device are averaged by their number.
Transfers cross the slowest link of a tensor-parallel group, averaged over pipelines, and count
once. Of a ring that sums gradients the bandwidth is that of its last link, from its last copy to
the first: there the published code reads the slowest link outside the loop that finds it. There
is no memory, and an idle layer takes no time.
"""

from __future__ import annotations

import numpy as np

from veilform.errors import InputError
from veilform.plan.parallel.cluster import Cluster
from veilform.plan.parallel.cuts import StageCosts
from veilform.plan.parallel.profile import Floats, LayerProfile
from veilform.plan.parallel.ranges import parameters, range_sums
from veilform.plan.parallel.strategy import Strategy

BACKWARD = 2
"""Seconds of the backward pass over those of the forward pass."""


def stage_costs(
    strategy: Strategy, profile: LayerProfile, cluster: Cluster, micro_batches: int
) -> StageCosts:
    """Seconds of every possible stage; the strategy's cuts are not read."""
    del micro_batches
    compute = range_sums(_layer_seconds(strategy, profile, cluster))
    shape = (strategy.pp, *compute.shape)
    return StageCosts(
        compute=np.broadcast_to(compute, shape),
        transfer=_transfers(strategy, profile, cluster),
        finish=_ring_seconds(strategy, cluster)[:, None, None] * parameters(profile) / strategy.tp,
        memory=np.zeros(shape),
        limit=np.full(strategy.pp, np.inf),
        hidden=True,
    )


def _layer_seconds(strategy: Strategy, profile: LayerProfile, cluster: Cluster) -> Floats:
    mixed = np.zeros(len(profile.layers))
    for kind, share in cluster.shares().items():
        timed = profile.seconds(kind, strategy.tp)
        if 1 not in timed:
            raise InputError(
                f"the published model needs timings at micro-batch 1; the profile {profile.name} "
                f"has {', '.join(map(str, timed))} on {kind}"
            )
        mixed += share * timed[1]
    return (1 + BACKWARD) * strategy.micro_batch * mixed * (1 - profile.column("idle"))


def _transfers(strategy: Strategy, profile: LayerProfile, cluster: Cluster) -> Floats:
    """By stage, first layer (which does not matter) and the one after the last."""
    devices = strategy.devices()
    slowest = cluster.bandwidth(devices[:-1], devices[1:]).min(2)
    split = np.where(profile.column("output_split"), strategy.tp, 1)
    volume = strategy.micro_batch * profile.column("output") / split
    seconds = np.zeros((strategy.pp, len(profile.layers) + 1))
    seconds[:-1, 1:] = (1 / slowest).mean(1)[:, None] * volume
    return np.repeat(seconds[:, None], seconds.shape[1], 1)


def _ring_seconds(strategy: Strategy, cluster: Cluster) -> Floats:
    """Seconds to sum one element over the copies of each stage, (pp,)."""
    devices = strategy.devices()
    last = cluster.bandwidth(devices[:, -1], devices[:, 0]).min(1)
    return 2 * (strategy.dp - 1) / (strategy.dp * last)
