"""The network's forward pass on plain numbers: the oracle of the secure one, and calibration.

Images are (B, H, W, C), channels last; kernels as in the checkpoint, (K, C / G, size, size).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from veilform.masks import SumPool
from veilform.models.checkpoint import Checkpoint
from veilform.models.vision import config
from veilform.models.vision.network import Branch, Network, Seen, Step
from veilform.nn.convolution import Convolution

Real = npt.NDArray[np.float64]
Tensors = Mapping[str, npt.NDArray[Any]]

BATCH_NORM_EPSILON = 1e-5
RELU6 = 6.0


@dataclass(frozen=True)
class Folded:
    """A convolution with its batch norm folded in: kernel (K, C / G, size, size), bias (K,)."""

    kernel: Real
    bias: Real


def fold(tensors: Tensors, branch: Branch) -> Folded:
    """The convolution of a branch as one kernel and one bias."""
    kernel = _read(tensors, branch.name + ".weight")
    if branch.norm:
        gain, bias = _norm(tensors, branch.norm)
        made = Folded(kernel * gain[:, None, None, None], bias)
    else:
        made = Folded(kernel, _read(tensors, branch.name + ".bias"))
    for link in branch.links:
        matrix = _read(tensors, link.name + ".weight")[:, :, 0, 0]
        # Outputs may be pixels of channels (``masks.Spread``), channels moving fastest.
        rows = made.kernel.reshape(-1, matrix.shape[1], *made.kernel.shape[1:])
        kernel = np.einsum("kc,pcihw->pkihw", matrix, rows).reshape(made.kernel.shape)
        bias = made.bias.reshape(-1, matrix.shape[1]) @ matrix.T
        if link.biased:
            bias = bias + _read(tensors, link.name + ".bias")
        made = Folded(kernel, bias.reshape(-1))
    return made


def fold_step(tensors: Tensors, step: Step) -> list[Folded | None]:
    """Its branches' convolutions, with the norm of their sum; None for a wire as it is."""
    folded = [None if b.conv is None else fold(tensors, b) for b in step.branches]
    if not step.norm:
        return folded
    gain, bias = _norm(tensors, step.norm)
    made: list[Folded | None] = []
    for each in folded:
        assert each is not None
        count = len(each.bias) // len(gain)
        factor = np.tile(gain, count)
        # What the norm adds is added once.
        shift = np.tile(bias, count) if not made else 0.0
        made.append(Folded(each.kernel * factor[:, None, None, None], each.bias * factor + shift))
    return made


def _read(tensors: Tensors, name: str) -> Real:
    return np.asarray(tensors[name], np.float64)


def _norm(tensors: Tensors, name: str) -> tuple[Real, Real]:
    """A batch norm as a gain and what it adds."""
    deviation = np.sqrt(_read(tensors, name + ".running_var") + BATCH_NORM_EPSILON)
    gain = _read(tensors, name + ".weight") / deviation
    return gain, _read(tensors, name + ".bias") - gain * _read(tensors, name + ".running_mean")


def see(x: Real, views: Seen) -> Real:
    """An image through views; of windows, averages."""
    for view in views:
        x = view.apply(x)
        if isinstance(view, SumPool):
            x = x / view.size**2
    return x


def convolve(x: Real, kernel: Real, conv: Convolution) -> Real:
    """A convolution of (B, H, W, C), any stride and groups."""
    edges = (conv.padding, conv.padding)
    padded = np.pad(x, [(0, 0), edges, edges, (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (conv.size, conv.size), (1, 2))
    windows = windows[:, :: conv.stride, :: conv.stride]
    if conv.groups == 1:
        return np.tensordot(windows, kernel, ((3, 4, 5), (1, 2, 3)))
    split = windows.reshape(*windows.shape[:3], conv.groups, -1, *windows.shape[4:])
    by_group = kernel.reshape(conv.groups, -1, *kernel.shape[1:])
    out = np.einsum("bhwgcij,gkcij->bhwgk", split, by_group, optimize=True)
    return out.reshape(*out.shape[:3], conv.outputs)


def activate(step: Step, x: Real, cap: float | None) -> Real:
    """The step's activation; a ReLU is clipped at ``cap`` unless that is None."""
    if step.activation == "none":
        return x
    if step.activation == "tanh":
        return np.tanh(x)
    top = RELU6 if step.activation == "relu6" else np.inf if cap is None else cap
    return np.clip(x, 0, top)


def max_pool(x: Real, step: Step) -> Real:
    """The largest of each window, if the step pools."""
    if step.pool is None:
        return x
    pool, edges = step.pool, (step.pool.padding, step.pool.padding)
    padded = np.pad(x, [(0, 0), edges, edges, (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (pool.size, pool.size), (1, 2))
    return windows[:, :: pool.stride, :: pool.stride].max(axis=(4, 5))


@dataclass(frozen=True)
class PlainNetwork:
    """A network with its tensors.

    Attributes:
        caps: by step, where its ReLU is clipped; steps without an entry are not.
    """

    network: Network
    tensors: Tensors
    caps: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> PlainNetwork:
        """A checkpoint folder: config.json, model.safetensors.

        Raises:
            ModelError: it is broken, or tensors are missing or misshapen (all are listed).
        """
        network = config.read(folder).network()
        stored = Checkpoint.open(folder)
        stored.require(network.tensors())
        return cls(network, stored.load(network.tensors()))

    def wires(self, images: Real) -> list[Real]:
        """Every wire, the images first; before pooling and clipping nothing is kept."""
        wires = [np.asarray(images, np.float64)]
        for step in self.network.steps:
            total: Any = 0.0
            for branch, folded in zip(step.branches, fold_step(self.tensors, step), strict=True):
                x = see(wires[branch.source], branch.before)
                if branch.conv is not None and folded is not None:
                    x = convolve(x, folded.kernel, branch.conv) + folded.bias
                total = total + see(x, branch.after)
            wires.append(max_pool(activate(step, total, self.caps.get(step.name)), step))
        return wires

    def forward(self, images: Real) -> Real:
        """Logits (B, classes); of a network without a head, its images (B, H, W, C)."""
        if not self.network.head:
            return self.wires(images)[-1]
        weight, bias = (self.tensors[f"{self.network.head}.{part}"] for part in ("weight", "bias"))
        pooled = self.wires(images)[-1].mean(axis=(1, 2))
        return pooled @ np.asarray(weight, np.float64).T + np.asarray(bias, np.float64)


def calibrate(plain: PlainNetwork, images: Real) -> dict[str, float]:
    """Where to clip each ReLU: a power of two, at least twice the largest value that images reach.

    Without caps the bounds of a deep network, which follow from its weights, outgrow any ring.
    """
    wires = plain.wires(images)[1:]
    return {
        step.name: float(2.0 ** np.ceil(np.log2(2 * max(float(wire.max()), 2.0**-4))))
        for step, wire in zip(plain.network.steps, wires, strict=True)
        if step.activation == "relu"
    }
