"""Fixed-point scales and rings of a convolution network, from bounds that its weights give.

An activation ends in [0, top], so a step's sum is bounded by its weights alone, whatever the image:
no calibration is trusted, and nothing overflows. A ReLU that a network has unclipped is clipped
where calibration says (``plain.calibrate``), which the plain model does alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
import numpy as np

from veilform import winograd
from veilform.approx.entry import LEAST_BOUND
from veilform.approx.tanh import ENTRY as TANH
from veilform.errors import ModelError
from veilform.masks import Spread
from veilform.models.vision.network import Branch, Network, Step, seen_shape
from veilform.models.vision.plain import RELU6, Folded, Tensors, fold_step
from veilform.nn.scales import LOGIT
from veilform.ring import WORD

PIXEL = 12
"""Scale of images and of what activations leave."""
WEIGHT = 13
"""Scale of kernels, before what Winograd's transforms carry is added."""
SUM = PIXEL + WEIGHT
HUGE = 2.0**20
"""No weight or bias may be so large; integers of it have room in 64 bits at every scale here."""


class StepScales(msgspec.Struct, frozen=True):
    """One step.

    Attributes:
        tiles: for each branch, m of its Winograd transform; 0 if it is direct.
        carried: fraction bits that transforms and averages add.
        ring: bits of the ring of the sum, at scale SUM + carried.
        top: where the activation is clipped, at scale PIXEL; 0 if bounds make that needless.
        pooled: bits of the ring of what is pooled; 0 without a pool.
        output: bits of the result's ring: of the widest sum that it enters.
    """

    tiles: tuple[int, ...]
    carried: int
    ring: int
    top: int
    pooled: int
    output: int

    @property
    def shift(self) -> int:
        """Bits that are dropped of the sum."""
        return WEIGHT + self.carried


class HeadScales(msgspec.Struct, frozen=True):
    """The dense layer on sums of pixels.

    Attributes:
        weight: scale of its weights.
        ring: bits of the ring of its output.
    """

    weight: int
    ring: int

    @property
    def shift(self) -> int:
        """Drops bits of its output, down to scale LOGIT."""
        return PIXEL + self.weight - LOGIT


class VisionScales(msgspec.Struct, frozen=True):
    """All of a network.

    Attributes:
        input: bits of the ring in which an image enters.
        head: None where the last step's output is the answer.
    """

    input: int
    steps: tuple[StepScales, ...]
    head: HeadScales | None


class _Range(NamedTuple):
    """Bounds of a wire's integers."""

    low: int
    high: int


def rounded_kernel(folded: Folded) -> np.ndarray:
    """The kernel's integers at scale WEIGHT.

    Raises:
        ModelError: a weight is not finite, or is 2^20 or more.
    """
    _check_finite(folded.kernel, folded.bias)
    return np.rint(folded.kernel * 2.0**WEIGHT).astype(np.int64)


def _check_finite(*tensors: np.ndarray) -> None:
    if not all(np.all(np.abs(each) < HUGE) for each in tensors):
        raise ModelError("a weight or bias, its batch norm folded in, is not finite or is huge")


def rounded_head(tensors: Tensors, network: Network, scale: int) -> np.ndarray:
    """The head's integers (C, classes) for sums of pixels, at a scale.

    Raises:
        ModelError: a weight is not finite, or is 2^20 or more.
    """
    height, width, _ = network.wires()[-1]
    weight = np.asarray(tensors[network.head + ".weight"], np.float64)
    _check_finite(weight, np.asarray(tensors[network.head + ".bias"], np.float64))
    return np.rint(weight.T / (height * width) * 2.0**scale).astype(np.int64)


def plan(
    network: Network,
    tensors: Tensors,
    caps: Mapping[str, float],
    largest: float,
    tiles: Mapping[str, int] | None = None,
) -> VisionScales:
    """Scales of every step.

    Args:
        caps: by step, where its ReLU is clipped.
        largest: no entry of an image is larger in absolute value.
        tiles: by a convolution's name, m of its Winograd transform; direct if it has none.

    Raises:
        ModelError: a step's sum does not fit 64 bits, as a ReLU before it is not clipped; a tile is
            of no convolution that can have one; or a clip rounds to nothing.
    """
    tiles = tiles or {}
    able = {branch.name for branch, conv, _ in network.convolutions() if conv.winograd}
    if strange := sorted(set(tiles) - able):
        raise ModelError(
            f"{strange[0]} cannot be computed by Winograd's transforms; calibrate again"
        )
    pixel = int(np.ceil(largest * 2**PIXEL))
    ranges, widths = [_Range(-pixel, pixel)], []
    steps: list[StepScales] = []
    for step in network.steps:
        used = tuple(tiles.get(branch.name, 0) for branch in step.branches)
        carried = max(
            branch.halvings + (winograd.TRANSFORMS[m].shift if m else 0)
            for branch, m in zip(step.branches, used, strict=True)
        )
        low, high = _sum_range(tensors, step, ranges)
        largest_sum = max(-low, high) + (1 << WEIGHT)
        ring = (largest_sum << carried).bit_length() + 2
        if step.activation == "tanh":
            ring = max(ring, WEIGHT + carried + PIXEL + LEAST_BOUND + 2)
        _check(ring, step.name)
        after = _Range(low >> WEIGHT, (high >> WEIGHT) + 1)
        top = _top(step, caps)
        if step.activation != "none":
            clips = bool(top) and top < after.high
            after = _Range(0, top if clips else max(after.high, 1))
            top = top if clips else 0
        pooled = after.high.bit_length() + 2 if step.pool else 0
        steps.append(StepScales(used, carried, ring, top, pooled, 0))
        ranges.append(after)
        widths.append(ring)
    head = _head(network, tensors, ranges[-1]) if network.head else None
    outputs = [1] * (len(steps) + 1)
    # A tangent's table has an answer in a ring no smaller than that of its input.
    last = steps[-1].ring - steps[-1].shift - (PIXEL + TANH.fine - LOGIT)
    outputs[-1] = max(LOGIT + 3, last) if head is None else head.ring
    for step, width in zip(network.steps, widths, strict=True):
        for branch in step.branches:
            outputs[branch.source] = max(outputs[branch.source], width)
    made = (msgspec.structs.replace(s, output=out) for s, out in zip(steps, outputs[1:]))  # noqa: B905
    return VisionScales(outputs[0], tuple(made), head)


def _check(ring: int, name: str) -> None:
    if ring > WORD:
        raise ModelError(
            f"the sums of {name} may take {ring} bits, but a ring has {WORD} at most: "
            "clip the ReLUs before it (calibrate the model)"
        )


def _top(step: Step, caps: Mapping[str, float]) -> int:
    """Where an activation is clipped, at scale PIXEL; 0 if it is not."""
    if step.activation == "relu6":
        return int(RELU6) << PIXEL
    if step.activation != "relu" or step.name not in caps:
        return 0
    top = round(min(caps[step.name], HUGE) * 2**PIXEL)
    if top < 1:
        raise ModelError(f"{step.name} would be clipped at {caps[step.name]:g}: calibrate again")
    return top


def _sum_range(tensors: Tensors, step: Step, ranges: list[_Range]) -> _Range:
    """Bounds of a step's sum at scale SUM: every pixel at its worst for every output."""
    low = high = np.zeros(1, np.float64)
    for branch, folded in zip(step.branches, fold_step(tensors, step), strict=True):
        source = ranges[branch.source]
        if folded is None:
            low, high = low + source.low * 2.0**WEIGHT, high + source.high * 2.0**WEIGHT
            continue
        least, most = _product_range(folded, source)
        if any(isinstance(view, Spread) for view in branch.after):
            # Any of the pixels that a view makes of channels; these move fastest.
            least = least.reshape(-1, _channels(branch)).min(0)
            most = most.reshape(-1, _channels(branch)).max(0)
        low, high = low + least, high + most
    # Doubles have 53 bits: what they may have lost of a sum is far less than this.
    slack = 1 + max(float(-low.min()), float(high.max()), 0.0) * 2.0**-40
    return _Range(int(min(low.min(), 0) - slack), int(max(high.max(), 0) + slack))


def _channels(branch: Branch) -> int:
    assert branch.conv is not None
    return seen_shape((1, 1, branch.conv.outputs), branch.after)[2]


def _product_range(folded: Folded, source: _Range) -> tuple[np.ndarray, np.ndarray]:
    kernel = rounded_kernel(folded).reshape(len(folded.bias), -1).astype(np.float64)
    positive, negative = np.maximum(kernel, 0).sum(1), np.minimum(kernel, 0).sum(1)
    # What padding adds is zero.
    least, most = min(source.low, 0), max(source.high, 0)
    bias = folded.bias * 2.0**SUM
    return positive * least + negative * most + bias, positive * most + negative * least + bias


def _head(network: Network, tensors: Tensors, last: _Range) -> HeadScales:
    height, width, _ = network.wires()[-1]
    scale = WEIGHT + (height * width - 1).bit_length()
    weights = np.abs(rounded_head(tensors, network, scale)).astype(np.float64)
    bias = np.abs(np.asarray(tensors[network.head + ".bias"], np.float64))
    largest = max(-last.low, last.high) * height * width
    bound = int((weights.sum(0) * largest + bias * 2.0 ** (PIXEL + scale)).max() * (1 + 2**-40))
    ring = (bound + (1 << scale)).bit_length() + 2
    _check(ring, network.head)
    return HeadScales(scale, ring)
