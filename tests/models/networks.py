"""Small convolution networks with random tensors, and their secure runs in one process."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from veilform import fixed, prg
from veilform.correlation import weights as masked_weights
from veilform.drive.lockstep import deal_stocks, run
from veilform.drive.trace import Trace, trace
from veilform.models.vision import compile as compiling
from veilform.models.vision.config import MobileNetV2, ResNet
from veilform.models.vision.network import Network
from veilform.models.vision.scaling import PIXEL, VisionScales
from veilform.models.vision.secure import SecureNetwork
from veilform.nn.scales import LOGIT
from veilform.roles import CLIENT, SERVER

SMALL_RESNET = ResNet(9, 8, 2, 3, (1, 1), (4, 6), True)
LARGE_STEM = ResNet(24, 20, 3, 4, (1,), (4,))
SMALL_MOBILENET = MobileNetV2(10, 10, 3, 5, ((1, 4, 1, 1), (2, 6, 2, 2)), 4, 1, 8)


def random_tensors(network: Network, seed: int = 0) -> dict[str, np.ndarray]:
    """Of a network that neither dies nor explodes: He's initialisation, norms near the identity."""
    rng = np.random.default_rng(seed)
    out: dict[str, np.ndarray] = {}
    for name, shape in network.tensors().items():
        if len(shape) > 1:
            fan_in = np.prod(shape[1:])
            out[name] = rng.normal(0, np.sqrt(2 / fan_in), shape)
        elif name.endswith(("running_var", ".weight")):
            out[name] = rng.uniform(0.7, 1.3, shape)
        else:
            out[name] = rng.normal(0, 0.1, shape)
    return {name: value.astype(np.float32) for name, value in out.items()}


def random_images(network: Network, count: int, seed: int = 0) -> np.ndarray:
    """In [-1, 1]."""
    return np.random.default_rng(seed).uniform(-1, 1, (count, *network.image))


def private(
    network: Network, scales: VisionScales, tensors: Mapping[str, np.ndarray], images: np.ndarray
) -> tuple[np.ndarray, Trace]:
    """Logits by both parties in one process, and what the trace foresaw; bytes are held to it."""
    program = SecureNetwork(network, scales, len(images))
    foreseen = trace(program.abstract)
    seed, shapes = prg.fresh_seed(), compiling.weight_shapes(network, scales)
    common = {name: masked_weights.common_part(seed, name, s) for name, s in shapes.items()}
    masked = {
        name: common[name] - value.view(np.uint64)
        for name, is_bias, value in compiling.arrays(network, tensors, scales)
        if not is_bias
    }
    assert {name: value.shape for name, value in masked.items()} == shapes
    stocks = deal_stocks(
        foreseen.manifest("0" * 64, len(images), 1),
        common=masked_weights.packed(common),
        masked=masked_weights.packed(masked),
    )
    server = compiling.server_weights(network, tensors, scales)
    ring = fixed.encode(images, PIXEL)
    ran = run({CLIENT: program.client(ring), SERVER: program.server(server)}, stocks)
    sent = {
        role: tuple(sum(part.nbytes for part in message) for message in ran.sent[role])
        for role in (CLIENT, SERVER)
    }
    assert (sent[CLIENT], sent[SERVER]) == (foreseen.up, foreseen.down)
    assert ran.results[SERVER] is None
    return fixed.decode(ran.results[CLIENT].logits, LOGIT), foreseen
