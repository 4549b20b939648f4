"""A checkpoint's tensors as the secure program takes them: folded, rounded, arranged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from veilform import fixed
from veilform.correlation.weights import packed_one
from veilform.masks import Spread
from veilform.models.vision.network import Branch, Network, seen_shape
from veilform.models.vision.plain import Folded, Real, Tensors, fold_step, see
from veilform.models.vision.scaling import (
    PIXEL,
    SUM,
    VisionScales,
    rounded_head,
    rounded_kernel,
)
from veilform.nn.convolution import Convolution
from veilform.ring import Words

Shape = tuple[int, ...]
HEAD = "head"


@dataclass(frozen=True, repr=False)
class ServerWeights:
    """Packed weights by name, and biases by step as ring elements."""

    weights: dict[str, Any]
    biases: dict[str, Words]


def identity(step: str) -> str:
    """Name of the weights by which a step takes a wire as it is."""
    return f"{step}.identity"


def weight_shapes(network: Network, scales: VisionScales) -> dict[str, Shape]:
    """Every weight of the secure program."""
    wires, shapes = network.wires(), dict[str, Shape]()
    for step, at in zip(network.steps, scales.steps, strict=True):
        for branch, tile in zip(step.branches, at.tiles, strict=True):
            if branch.conv is None:
                shapes[identity(step.name)] = (wires[branch.source][2],)
            else:
                shapes |= branch.conv.weights(branch.weights, tile)
    return shapes | ({HEAD: (wires[-1][2], network.classes)} if network.head else {})


def arrays(
    network: Network, tensors: Tensors, scales: VisionScales
) -> Iterator[tuple[str, bool, npt.NDArray[Any]]]:
    """(name, whether a bias, integers): a step's bias has the step's name.

    Weights are int64 where they are small, to be packed in few bytes, else ring elements.
    """
    wires = network.wires()
    for step, at in zip(network.steps, scales.steps, strict=True):
        bias: Any = 0.0
        folds = fold_step(tensors, step)
        for branch, tile, folded in zip(step.branches, at.tiles, folds, strict=True):
            if branch.conv is None or folded is None:
                one = 1 << (at.shift - branch.halvings)
                channels = wires[branch.source][2]
                yield identity(step.name), False, np.full(channels, one, np.int64)
                continue
            kernel = rounded_kernel(folded)
            carried = at.carried - branch.halvings
            made = branch.conv.arranged(branch.weights, kernel, tile, carried)
            yield from ((name, False, value) for name, value in made.items())
            bias = bias + _seen_bias(folded, branch, branch.conv, wires[branch.source])
        yield step.name, True, fixed.encode(bias, SUM + at.carried)
    if not network.head or scales.head is None:
        return
    yield HEAD, False, rounded_head(tensors, network, scales.head.weight)
    bias = tensors[network.head + ".bias"]
    yield HEAD, True, fixed.encode(bias, PIXEL + scales.head.weight)


def _seen_bias(folded: Folded, branch: Branch, conv: Convolution, source: Shape) -> Real:
    """Of each channel; or of each pixel, where a view makes pixels of channels."""
    if not any(isinstance(view, Spread) for view in branch.after):
        return folded.bias
    height, width, _ = seen_shape((source[0], source[1], source[2]), branch.before)
    shape = (conv.after(height), conv.after(width), conv.outputs)
    return see(np.broadcast_to(folded.bias, shape), branch.after)


def server_weights(network: Network, tensors: Tensors, scales: VisionScales) -> ServerWeights:
    """What the server computes with."""
    weights: dict[str, Any] = {}
    biases: dict[str, Words] = {}
    for name, is_bias, value in arrays(network, tensors, scales):
        if is_bias:
            biases[name] = value
        else:
            # The kernels tell words from small integers by the type; vectors are words.
            weights[name] = packed_one(value.view(np.uint64) if value.ndim == 1 else value)
    return ServerWeights(weights, biases)
