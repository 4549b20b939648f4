"""Image models of random weights, by the name of their shape: for costs before there is one."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from veilform.models.checkpoint import CONFIG, WEIGHTS
from veilform.models.vision.config import Classifier, Family, MobileNetV2, resnet18, resnet32
from veilform.models.vision.network import Network
from veilform.models.vision.sides import ServerSide, save_clips, save_tiles
from veilform.plan.convolution import choose
from veilform.plan.random_model import write_tensors

NETWORKS: Mapping[str, Classifier] = {
    "resnet18": resnet18(),
    "resnet32": resnet32(),
    "mobilenet_v2": MobileNetV2(224, 224),
}
CLIP = 16.0
"""Where a ReLU of random weights is clipped: what some trained networks reach."""


def random_tensors(network: Network, seed: int = 0) -> dict[str, npt.NDArray[np.float32]]:
    """Of a network that neither dies nor explodes: He's initialisation, norms near the identity."""
    rng = np.random.default_rng(seed)
    found: dict[str, npt.NDArray[np.float32]] = {}
    for name, shape in network.tensors().items():
        if len(shape) > 1:
            deviation = np.sqrt(2 / np.prod(shape[1:]))
            found[name] = rng.standard_normal(shape, np.float32) * np.float32(deviation)
        elif name.endswith(("running_var", ".weight")):
            found[name] = rng.uniform(0.7, 1.3, shape).astype(np.float32)
        else:
            found[name] = rng.normal(0, 0.1, shape).astype(np.float32)
    return found


def write_network(folder: Path, family: Family, seed: int = 0) -> None:
    """Writes a model that can be served into the new folder ``folder``."""
    network = family.network()
    folder.mkdir(parents=True)
    (folder / CONFIG).write_bytes(msgspec.json.encode(family))
    tensors = random_tensors(network, seed)
    write_tensors(folder / WEIGHTS, network.tensors(), iter(tensors.values()))
    save_clips(folder, {s.name: CLIP for s in network.steps if s.activation == "relu"})
    save_tiles(folder, choose(network))


def random_network_side(family: Family) -> ServerSide:
    """A random model as its server holds it."""
    with tempfile.TemporaryDirectory(prefix="veilform-plan-") as temporary:
        write_network(Path(temporary) / "model", family)
        return ServerSide(Path(temporary) / "model")
