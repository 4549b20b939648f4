"""What a stage holds on each of its devices."""

from __future__ import annotations

import numpy as np

from veilform.plan.parallel.profile import Floats, LayerProfile
from veilform.plan.parallel.ranges import parameters, range_sums
from veilform.plan.parallel.strategy import Strategy

STATE_BYTES = 20
"""Of a parameter, mixed precision with Adam: weight and gradient in 16 bits; weight, gradient
and two moments in 32 bits."""
RESERVED_BYTES = 1e9
"""Of each device, for its libraries, buffers and what fragments."""


def stage_bytes(strategy: Strategy, profile: LayerProfile, micro_batches: int) -> Floats:
    """Bytes on each device of every possible stage, (pp, L + 1, L + 1).

    One forward, one backward in turn: stage s holds the activations of min(B, pp - s)
    micro-batches.
    """
    kept = profile.column("kept_bytes") + profile.column("kept_split_bytes") / strategy.tp
    in_flight = np.minimum(micro_batches, strategy.pp - np.arange(strategy.pp))
    activations = in_flight[:, None, None] * strategy.micro_batch * range_sums(kept)
    state = STATE_BYTES * parameters(profile) / strategy.tp
    return RESERVED_BYTES + state + activations
