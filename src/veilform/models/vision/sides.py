"""A convolution network as each side holds it, as ``models.bert.sides`` has it for texts.

What serves and asks knows a run by its shape alone: a batch, and a length, which is 1 for images.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from veilform import fixed
from veilform.correlation.manifest import Manifest
from veilform.correlation.weights import dealer_part
from veilform.drive.trace import Trace, trace
from veilform.errors import InputError, ModelError
from veilform.models import checkpoint
from veilform.models.bert.sides import Shape
from veilform.models.vision import compile as compiling
from veilform.models.vision import config
from veilform.models.vision.network import Network
from veilform.models.vision.plain import PlainNetwork, Real
from veilform.models.vision.scaling import PIXEL, VisionScales, plan
from veilform.models.vision.secure import SecureNetwork
from veilform.ring import Words

SCALES, CLIPS = "scales.json", "clips.json"
_MOST_BYTES = 4 << 20


class Published(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client is told beside the config: the model's digest, its scales, its images' range.

    Attributes:
        largest: no entry of an image may be larger in absolute value.
    """

    model: str
    scales: VisionScales
    largest: float


class ImageBatch(NamedTuple):
    """Images (B, H, W, C), as the network takes them: normalised, channels last."""

    images: Real


class Side:
    """What both sides derive alike."""

    def __init__(self, network: Network, published: Published) -> None:
        self.network = network
        self.model, self.scales, self.largest = published.model, published.scales, published.largest

    @property
    def published(self) -> Published:
        """What a client is told."""
        return Published(self.model, self.scales, self.largest)

    @property
    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the weights, by name."""
        return compiling.weight_shapes(self.network, self.scales)

    def program(self, shape: Shape) -> SecureNetwork:
        """The secure program for one batch.

        Raises:
            InputError: for a length other than 1.
        """
        if shape.length != 1:
            raise InputError(f"images have no length {shape.length}")
        return SecureNetwork(self.network, self.scales, shape.batch)

    @functools.lru_cache(maxsize=32)  # noqa: B019 - a side lives as long as its process
    def trace(self, shape: Shape) -> Trace:
        """What a run of this shape takes and sends."""
        return trace(self.program(shape).abstract)

    @functools.lru_cache(maxsize=32)  # noqa: B019
    def manifest(self, shape: Shape, weights: str) -> Manifest:
        """What binds a stock to this model, these masked weights and this shape."""
        digest = hashlib.sha256(msgspec.json.encode((self.published, self.network))).hexdigest()
        return self.trace(shape).manifest(digest, shape.batch, shape.length, weights)


class ServerSide(Side):
    """A checkpoint folder with ``clips.json`` (`save_clips`), ready to serve.

    Attributes:
        content: digest of the weights as ring elements, which `masked` masks.
    """

    def __init__(
        self, folder: Path, largest: float = 4.0, tiles: Mapping[str, int] | None = None
    ) -> None:
        """Reads, bounds and packs it.

        Args:
            largest: no entry of an image is larger in absolute value.
            tiles: by convolution, m of its Winograd transform (``plan.convolution.choose``).

        Raises:
            ModelError: it is broken, or not calibrated.
        """
        plain = PlainNetwork.load(folder)
        caps = _load(folder, CLIPS, dict[str, float])
        scales = plan(plain.network, plain.tensors, caps, largest, tiles)
        super().__init__(plain.network, Published(checkpoint.model_digest(folder), scales, largest))
        self.folder, self._tensors = folder, plain.tensors
        self._packed = compiling.server_weights(self.network, self._tensors, scales)
        hasher = hashlib.sha256()
        for name, words in self._words():
            hasher.update(f"{name} {words.shape} ".encode())
            hasher.update(np.ascontiguousarray(words).data)
        self.content = hasher.hexdigest()

    def server_weights(self, length: int) -> compiling.ServerWeights:
        """Packed weights, and biases."""
        return self._packed

    def masked(self, seed: bytes) -> Iterator[Words]:
        """What the dealer gets: s = P - W of each weight, in order of `weight_shapes`."""
        for name, words in self._words():
            yield dealer_part(seed, name, words)

    def _words(self) -> Iterator[tuple[str, Words]]:
        for name, is_bias, value in compiling.arrays(self.network, self._tensors, self.scales):
            if not is_bias:
                yield name, value.view(np.uint64)


class ClientSide(Side):
    """The public part of a network."""

    def __init__(self, folder: Path) -> None:
        """Reads a folder that :func:`publish` made.

        Raises:
            ModelError: when it is none.
        """
        network = config.read(folder).network()
        published = _load(folder, SCALES, Published)
        if len(published.scales.steps) != len(network.steps):
            raise ModelError(f"{SCALES} in {folder} is of another model; export the folder again")
        super().__init__(network, published)

    def shape(self, batch: ImageBatch) -> Shape:
        """Of the run that answers a batch."""
        return Shape(len(batch.images), 1)

    def inputs(self, batch: ImageBatch) -> Words:
        """Images as the secure program takes them.

        Raises:
            InputError: they have another shape, or entries that are too large or no numbers.
        """
        images = np.asarray(batch.images, np.float64)
        if images.ndim != 4 or images.shape[1:] != self.network.image or not len(images):
            wanted = " x ".join(map(str, self.network.image))
            raise InputError(f"images have shape {images.shape}, but the model takes B x {wanted}")
        if not np.all(np.abs(images) <= self.largest):
            raise InputError(
                f"an image has entries beyond +-{self.largest:g}, or that are no numbers; "
                "normalise it as the model was trained"
            )
        return fixed.encode(images, PIXEL)


def save_clips(folder: Path, caps: dict[str, float]) -> None:
    """Keeps what ``plain.calibrate`` found beside a checkpoint."""
    (folder / CLIPS).write_bytes(msgspec.json.format(msgspec.json.encode(caps), indent=1))


def publish(server: ServerSide, out_dir: Path) -> None:
    """Writes the folder that a client needs: config, digest and scales."""
    out_dir.mkdir(parents=True, exist_ok=True)
    found = checkpoint.read_bytes(server.folder, checkpoint.CONFIG, _MOST_BYTES)
    (out_dir / checkpoint.CONFIG).write_bytes(found)
    content = msgspec.json.format(msgspec.json.encode(server.published), indent=1)
    (out_dir / SCALES).write_bytes(content)


def _load(folder: Path, name: str, kind: Any) -> Any:
    content = checkpoint.read_bytes(folder, name, _MOST_BYTES)
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{name} in {folder} is malformed: {error}") from None
