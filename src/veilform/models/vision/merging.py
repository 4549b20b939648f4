"""An inverted residual block without inner activations as one dense convolution.

With batch norms folded, U (up, 1 x 1), D (depthwise) and P (down, 1 x 1) of a block are linear:

    W[o, i] = sum over m of P[o, m] D[m] U[m, i],   plus one at the centre for a residual
    b[o]    = b_P[o] + sum over m of P[o, m] (b_D[m] + b_U[m] sum(D[m]))

The bias holds at borders because zeros are put around a block's input, before it grows
(``MobileNetV2.unmerged``): the depthwise layer then sees b_U beyond the border, as it does inside.
Source: CoPriv, arXiv 2311.01737, section 4.3.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec
import numpy as np

from veilform.errors import ModelError
from veilform.models.vision.config import Block, Family, MobileNetV2
from veilform.models.vision.network import Branch, Step
from veilform.models.vision.plain import Folded, Tensors, fold


def with_merged(family: MobileNetV2, merged: Collection[int]) -> MobileNetV2:
    """The same sizes with these blocks merged."""
    return msgspec.structs.replace(family, merged=tuple(sorted(merged)))


def prunable(family: Family) -> MobileNetV2:
    """The family, if it has blocks whose inner activations can go; ModelError if not."""
    if not isinstance(family, MobileNetV2):
        raise ModelError(
            "this network has no inverted residual blocks: only mobilenet_v2 is compressed"
        )
    if family.merged:
        raise ModelError("this network is compressed already: compress the one that it came from")
    return family


def merge(family: MobileNetV2, tensors: Tensors) -> dict[str, np.ndarray]:
    """Tensors of ``family.network()`` from those of ``family.unmerged()``."""
    steps = {step.name: step for step in family.unmerged().steps}
    made: dict[str, np.ndarray] = {}
    for block in family.blocks():
        if block.number in family.merged:
            one = merged_block(block, steps, tensors)
            made[f"{block.name}.conv.weight"] = one.kernel.astype(np.float32)
            made[f"{block.name}.conv.bias"] = one.bias.astype(np.float32)
    wanted = family.network().tensors()
    return {name: made[name] if name in made else np.asarray(tensors[name]) for name in wanted}


def merged_block(block: Block, steps: dict[str, Step], tensors: Tensors) -> Folded:
    """One block's convolution (K, C, 3, 3) and bias (K,), in double precision."""

    def layer(name: str) -> Folded:
        branch: Branch = steps[f"{block.name}.{name}"].branches[0]
        return fold(tensors, branch)

    depthwise, down = layer("depthwise"), layer("down")
    taps, last = depthwise.kernel[:, 0], down.kernel[:, :, 0, 0]
    bias = depthwise.bias
    if block.grown > 1:
        up = layer("up")
        bias = bias + up.bias * taps.sum((1, 2))
        kernel = np.einsum("om,mhw,mi->oihw", last, taps, up.kernel[:, :, 0, 0], optimize=True)
    else:
        kernel = np.einsum("oi,ihw->oihw", last, taps)
    if block.residual:
        each = np.arange(block.width)
        kernel[each, each, 1, 1] += 1
    return Folded(kernel, down.bias + last @ bias)
