"""The default cost model: AMP's, without the faults of its published form.

- A layer's forward pass takes a + b m seconds at micro-batch m; see :mod:`.affine`. Backward, the
  work b m is twice that and the fixed part the same.
- A stage is as slow as its slowest device, by that device's own profile.
- A transfer moves activations forward and their gradients back, and a stage does nothing else
  meanwhile: it belongs to the stage's time for each micro-batch.
- Transfers of one cut, and rings of different groups, that leave a machine share its link.
- Activations travel in 16 bits, gradients in 32.
- A ring that sums gradients is as fast as the slowest link that it uses, whatever its order.
- After that the weights are updated, at the rate of the device's memory.
- Weights, gradients, optimizer state and activations in flight must fit; see :mod:`.memory`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from veilform.plan.parallel.affine import affine
from veilform.plan.parallel.cluster import ACTIVATION_BITS, BITS, Cluster
from veilform.plan.parallel.cuts import StageCosts
from veilform.plan.parallel.memory import stage_bytes
from veilform.plan.parallel.profile import Floats, LayerProfile
from veilform.plan.parallel.published import BACKWARD
from veilform.plan.parallel.ranges import parameters, range_sums
from veilform.plan.parallel.strategy import Strategy

BACKWARD_LAUNCH = 1
"""Fixed time of a backward pass over that of a forward pass: twice the operations, but started
by the compiled engine instead of by Python."""
UPDATE_BYTES = 44
"""Read and written of a parameter: its gradient is widened, its norm taken, and Adam reads four
numbers and writes three, and a weight in 16 bits."""


def stage_costs(
    strategy: Strategy, profile: LayerProfile, cluster: Cluster, micro_batches: int
) -> StageCosts:
    """Seconds and bytes of every possible stage; the strategy's cuts are not read."""
    devices = strategy.devices()
    update = UPDATE_BYTES / cluster.memory_rate[devices].min((1, 2))
    finish = _ring_seconds(devices, cluster) + update
    return StageCosts(
        compute=_compute(strategy, profile, cluster),
        transfer=_transfers(strategy, profile, cluster),
        finish=finish[:, None, None] * parameters(profile) / strategy.tp,
        memory=stage_bytes(strategy, profile, micro_batches),
        limit=cluster.memory[devices].min((1, 2)),
        hidden=False,
    )


def _compute(strategy: Strategy, profile: LayerProfile, cluster: Cluster) -> Floats:
    by_kind = []
    for kind, inside in _kinds(cluster):
        fixed, slope = affine(profile, kind, strategy.tp, inside)
        by_kind.append(range_sums(_both_passes(fixed, slope * strategy.micro_batch)))
    table = np.stack(by_kind)
    used = cluster.kind_of[strategy.devices()].reshape(strategy.pp, -1)
    return np.stack([table[np.unique(kinds)].max(0) for kinds in used])


def _both_passes(fixed: Floats, work: Floats) -> Floats:
    return (1 + BACKWARD_LAUNCH) * fixed + (1 + BACKWARD) * work


def _kinds(cluster: Cluster) -> list[tuple[str, float]]:
    """Each kind of device, and elements a second between two of its slowest machine."""
    return [
        (kind, min(b for n, b in zip(cluster.nodes, cluster.inside, strict=True)
                   if n.device == kind))
        for kind in cluster.kinds
    ]  # fmt: skip


def _transfers(strategy: Strategy, profile: LayerProfile, cluster: Cluster) -> Floats:
    devices = strategy.devices()
    seconds = np.zeros((strategy.pp, len(profile.layers) + 1))
    node = cluster.node_of[devices].reshape(strategy.pp, -1)
    here, there = node[:-1], node[1:]
    across = here != there
    share = np.minimum(
        cluster.between[here] / _flows(here, across, len(cluster.nodes)),
        cluster.between[there] / _flows(there, across, len(cluster.nodes)),
    )
    slowest = np.where(across, share, cluster.inside[here]).min(1)
    split = np.where(profile.column("output_split"), strategy.tp, 1)
    volume = strategy.micro_batch * profile.column("output") / split
    seconds[:-1, 1:] = 2 * ACTIVATION_BITS / BITS * volume / slowest[:, None]
    return np.repeat(seconds[:, None], seconds.shape[1], 1)


def _flows(node: NDArray[np.intp], across: NDArray[np.bool_], nodes: int) -> NDArray[np.intp]:
    """How many transfers of a cut (pp - 1, dp * tp) pass the link of each one's machine."""
    cut = np.arange(len(node))[:, None]
    keys = cut * nodes + node
    counts = np.bincount(keys[across], minlength=len(node) * nodes)
    return np.maximum(counts[keys], 1)


def _ring_seconds(devices: NDArray[np.intp], cluster: Cluster) -> Floats:
    """Seconds to sum one element over the copies of each stage, (pp,).

    A ring goes through the machines one after the other, so it leaves each of them once.
    """
    stages, copies, _ = devices.shape
    if copies == 1:
        return np.zeros(stages)
    members = (cluster.node_of[devices][..., None] == np.arange(len(cluster.nodes))).sum(1)
    crosses = (members > 0) & (members < copies)
    rings = np.maximum(crosses.sum((0, 1)), 1)
    link = np.where(crosses, cluster.between / rings, np.inf)
    link = np.minimum(link, np.where(members > 1, cluster.inside, np.inf))
    return 2 * (copies - 1) / (copies * link.min((1, 2)))
