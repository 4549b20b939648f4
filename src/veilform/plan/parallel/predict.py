"""What a strategy takes: seconds by cause, and bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from veilform.errors import InputError
from veilform.plan.parallel import model, published
from veilform.plan.parallel.cluster import Cluster
from veilform.plan.parallel.cuts import StageCosts
from veilform.plan.parallel.profile import LayerProfile
from veilform.plan.parallel.strategy import Strategy

Mode = Literal["default", "published"]
MODES = {"default": model.stage_costs, "published": published.stage_costs}


@dataclass(frozen=True)
class Prediction:
    """Seconds of one iteration, forward, backward and gradients summed.

    Attributes:
        micro_batches: that one pipeline runs, B.
        compute_s: of one micro-batch in each stage.
        transfer_s: of one micro-batch from each stage to the next; 0 of the last.
        steady_s: B - 1 times the slowest stage.
        fill_s: one micro-batch through all stages.
        sent_s: its transfers.
        finish_s: summing gradients over the copies, and the update.
        stage_bytes: on each device of each stage; 0 where the mode has no memory.
        fits: whether every stage's memory suffices.
    """

    micro_batches: int
    compute_s: tuple[float, ...]
    transfer_s: tuple[float, ...]
    steady_s: float
    fill_s: float
    sent_s: float
    finish_s: float
    stage_bytes: tuple[float, ...]
    fits: bool

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.steady_s + self.fill_s + self.sent_s + self.finish_s

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "predicted_s": self.seconds,
            "micro_batches": self.micro_batches,
            "breakdown": {
                "steady_s": self.steady_s,
                "fill_s": self.fill_s,
                "sent_s": self.sent_s,
                "finish_s": self.finish_s,
            },
            "stages": [
                {"compute_s": compute, "transfer_s": transfer, "bytes": held}
                for compute, transfer, held in zip(
                    self.compute_s, self.transfer_s, self.stage_bytes, strict=True
                )
            ],
            "fits": self.fits,
        }


def check_devices(profile: LayerProfile, cluster: Cluster) -> None:
    """Complains of kinds of device that the profile does not have.

    Raises:
        InputError: there are any.
    """
    unknown = [kind for kind in cluster.kinds if kind not in profile.devices]
    if unknown:
        raise InputError(
            f"the profile {profile.name} has no timings on {', '.join(unknown)}; it has "
            f"{', '.join(profile.devices)}"
        )


def costs_of(
    strategy: Strategy, profile: LayerProfile, cluster: Cluster, micro_batches: int, mode: Mode
) -> StageCosts:
    """Seconds of every possible stage, whatever the strategy's cuts.

    Raises:
        InputError: an unknown mode, or devices that the cluster or the profile does not have.
    """
    if mode not in MODES:
        raise InputError(f"the mode is one of {', '.join(MODES)}, not {mode}")
    check_devices(profile, cluster)
    if not 0 <= min(strategy.placement) <= max(strategy.placement) < cluster.size:
        raise InputError(
            f"the strategy needs {strategy.world} devices, numbered below {cluster.size}: those "
            "of the cluster"
        )
    return MODES[mode](strategy, profile, cluster, micro_batches)


def predict(
    strategy: Strategy,
    profile: LayerProfile,
    cluster: Cluster,
    global_batch: int,
    mode: Mode = "default",
) -> Prediction:
    """What one iteration of ``global_batch`` samples takes.

    Raises:
        InputError: the batch does not divide, cuts that are not this model's, an unknown mode, or
            devices that the cluster or the profile does not have.
    """
    if strategy.cuts[-1] != len(profile.layers):
        raise InputError(
            f"the cuts end at layer {strategy.cuts[-1]}, the profile {profile.name} has "
            f"{len(profile.layers)}"
        )
    micro_batches = strategy.micro_batches(global_batch)
    costs = costs_of(strategy, profile, cluster, micro_batches, mode)
    return summed(costs, strategy.cuts, micro_batches)


def summed(costs: StageCosts, cuts: tuple[int, ...], micro_batches: int) -> Prediction:
    """The prediction of these cuts."""
    at = (range(len(cuts) - 1), cuts[:-1], cuts[1:])
    compute, transfer = costs.compute[at], costs.transfer[at]
    memory = costs.memory[at]
    return Prediction(
        micro_batches,
        tuple(compute.tolist()),
        tuple(transfer.tolist()),
        steady_s=float((micro_batches - 1) * costs.steady[at].max()),
        fill_s=float(compute.sum()),
        sent_s=float(transfer.sum()),
        finish_s=float(costs.finish[at].max()),
        stage_bytes=tuple(memory.tolist()),
        fits=bool((memory <= costs.limit).all()),
    )
