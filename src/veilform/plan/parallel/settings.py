"""The three experiments of the AMP paper: model, cluster and batch.

Their profiles are NumPy files, one for each kind of device and degree of tensor parallelism:
MODEL_DEVICE_TP.npy, forward seconds of each layer at micro-batch 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from veilform.errors import InputError
from veilform.plan.parallel.cluster import Cluster, Node
from veilform.plan.parallel.profile import Layer, LayerProfile, Timing, scores, transformer

DEGREES = (1, 2, 4)
G4 = Node("G4", 4, inside_gbps=50, between_gbps=50, memory_gb=15, memory_gb_s=320)
"""Four T4, of whose 16 GB the driver leaves 15."""
P3 = Node("P3", 4, inside_gbps=170, between_gbps=10, memory_gb=16, memory_gb_s=900)
"""Four V100."""


@dataclass(frozen=True)
class Setting:
    """One experiment: ``model`` is how its profile's files begin."""

    model: str
    nodes: tuple[Node, ...]
    global_batch: int

    @property
    def cluster(self) -> Cluster:
        """Its machines."""
        return Cluster(self.nodes)

    def profile(self, folder: Path) -> LayerProfile:
        """Reads its profile.

        Raises:
            InputError: a file is missing, is no NumPy file, or has another number of layers.
        """
        kinds = dict.fromkeys(node.device for node in self.nodes)
        timings = tuple(
            Timing(kind, tp, 1, _read(folder / f"{self.model}_{kind}_{tp}.npy"))
            for kind in kinds
            for tp in DEGREES
        )
        return LayerProfile(self.model, LAYERS[self.model](), timings)


def gpt2_layers() -> tuple[Layer, ...]:
    """GPT-2 medium's: embedding, no-op, 24 Transformer layers, no-op, no-op, head, no-op."""
    width, sequence, words = 1024, 1024, 52_256
    matrix, tokens = words * width, sequence * width
    rest, head = Layer("other", output=tokens), scores(matrix, sequence * words)
    return (
        Layer("embedding", shared=matrix, output=tokens),
        rest,
        *(transformer(width, sequence, 4 * width, heads=16) for _ in range(24)),
        rest,
        rest,
        head,
        Layer("other", output=head.output, output_split=True),
    )


def transgan_layers() -> tuple[Layer, ...]:
    """The generator of TransGAN: Transformer layers 3 to 14 of width 1024, 41 to 52 of width 16.

    The published model leaves the others out, all but the first. Its stages pass on 81 tokens of
    width 1024, or as much in more tokens that are narrower. What the layers keep for the backward
    pass is not known, so memory counts weights alone.
    """
    width, tokens = 1024, 81
    output = float(tokens * width)

    def layer(number: int) -> Layer:
        if 3 <= number < 15 or 41 <= number < 53:
            own = width if number < 15 else width / 64
            return Layer("transformer", parameters=12 * own**2, output=output, reduced=2 * output)
        return Layer("other", output=output, idle=number > 0)

    return tuple(layer(number) for number in range(56))


LAYERS = {"gpt2": gpt2_layers, "transgan": transgan_layers}
SETTINGS = {
    "amp-homogeneous": Setting("gpt2", (G4,) * 4, 32),
    "amp-het-cluster": Setting("gpt2", (P3, P3, P3, G4), 32),
    "amp-het-model": Setting("transgan", (P3,) * 4, 64),
}


def setting(name: str) -> Setting:
    """One of ``SETTINGS``.

    Raises:
        InputError: there is none of that name.
    """
    if name not in SETTINGS:
        raise InputError(f"no setting {name}: it is one of {', '.join(SETTINGS)}")
    return SETTINGS[name]


def _read(path: Path) -> tuple[float, ...]:
    try:
        seconds = np.load(path, allow_pickle=False)
        return tuple(np.asarray(seconds, float).ravel().tolist())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError:
        raise InputError(f"{path} is no NumPy file of numbers") from None
