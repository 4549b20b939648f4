"""A convolution network as each side holds it, as ``models.bert.sides`` has it for texts."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from veilform import fixed
from veilform.correlation.manifest import Manifest
from veilform.correlation.weights import dealer_part
from veilform.drive.trace import Trace, trace
from veilform.errors import InputError, ModelError
from veilform.models import checkpoint
from veilform.models.sides import Shape
from veilform.models.vision import compile as compiling
from veilform.models.vision.described import ImageConfig
from veilform.models.vision.images import ImageBatch, ImageEncoder
from veilform.models.vision.plain import PlainNetwork
from veilform.models.vision.preprocess import Preprocessing
from veilform.models.vision.scaling import PIXEL, VisionScales, plan
from veilform.models.vision.secure import SecureNetwork
from veilform.ring import Words

SCALES, CLIPS, WINOGRAD = "scales.json", "clips.json", "winograd.json"
_MOST_BYTES = 4 << 20

Tile = Literal[2, 4]


class Published(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client is told beside the config.

    Attributes:
        model: the model's digest.
        largest: no entry of an image may be larger in absolute value.
        preprocessing: what makes images of pictures.
    """

    model: str
    scales: VisionScales
    largest: float
    preprocessing: Preprocessing


class Side:
    """What both sides derive alike.

    Attributes:
        published: what a client is told.
        encoder: reads pictures as the network takes them.
    """

    lengths = (1,)
    """An image has no length, which counts as one."""

    def __init__(self, config: ImageConfig, published: Published) -> None:
        self.config, self.network, self.published = config, config.network, published
        self.model, self.scales, self.largest = published.model, published.scales, published.largest
        self.encoder = ImageEncoder(self.network.image, published.preprocessing)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one image (H, W, C)."""
        return self.network.image

    @property
    def takes(self) -> str:
        """What one input may be, in words."""
        return "images of {} x {} x {}".format(*self.network.image)

    def run_shape(self, batch: int, tokens: int | None = None) -> Shape:
        """Of a run of so many images.

        Raises:
            InputError: they have tokens.
        """
        if tokens is not None:
            raise InputError("an image has no tokens: leave out --seq")
        return Shape(batch, 1)

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
        hasher = hashlib.sha256(msgspec.json.encode((self.published, self.network)))
        for constants in self.program(shape).constants:
            hasher.update(constants.tobytes())
        digest = hasher.hexdigest()
        return self.trace(shape).manifest(digest, shape.batch, shape.length, weights)


class ServerSide(Side):
    """A checkpoint folder, ready to serve.

    Attributes:
        content: digest of the weights as ring elements, which `masked` masks.
    """

    calibrated = 1

    def __init__(
        self, folder: Path, largest: float | None = None, tiles: Mapping[str, int] | None = None
    ) -> None:
        """Reads, bounds and packs it.

        Args:
            largest: no entry of an image is larger in absolute value; by default the family's
                bound, or what the folder's preprocessing makes of pixels.
            tiles: by convolution, m of its Winograd transform; by default the folder's
                (`save_tiles`).

        Raises:
            ModelError: it is broken, or not calibrated.
        """
        config = ImageConfig.read(folder)
        plain = PlainNetwork.load(folder)
        image = plain.network.image
        how = Preprocessing.read(folder, image)
        if largest is None:
            largest = config.largest or how.largest(image[2])
        tiles = load_tiles(folder) if tiles is None else tiles
        scales = plan(plain.network, plain.tensors, load_clips(folder, config), largest, tiles)
        told = Published(checkpoint.model_digest(folder), scales, largest, how)
        super().__init__(config, told)
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
        config = ImageConfig.read(folder)
        published = _load(folder, SCALES, Published)
        if len(published.scales.steps) != len(config.network.steps):
            raise ModelError(f"{SCALES} in {folder} is of another model; export the folder again")
        published.preprocessing.check(config.network.image)
        super().__init__(config, published)
        try:
            self.trace(Shape(1, 1))
        except (ArithmeticError, AssertionError, LookupError, ValueError):
            raise ModelError(
                f"{SCALES} in {folder} does not fit its network; export the folder again"
            ) from None

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


def load_clips(folder: Path, config: ImageConfig) -> dict[str, float]:
    """Where a folder's ReLUs are clipped; ModelError if it was not calibrated, and must be."""
    needed = any(step.activation == "relu" for step in config.network.steps)
    if not needed and not (folder / CLIPS).is_file():
        return {}
    if not (folder / CLIPS).is_file():
        how = "run `veilform calibrate` on it with --images, some typical pictures"
        if config.task == config.architecture:
            how = "veilform.vision.dcvae.private.prepare writes it, as `veilform dcvae fit` does"
        raise ModelError(f"{folder} has no {CLIPS}: {how}")
    return dict(_load(folder, CLIPS, dict[str, float]))


def load_tiles(folder: Path) -> dict[str, int]:
    """By convolution, m of its Winograd transform; all are direct where a folder says nothing."""
    if not (folder / WINOGRAD).is_file():
        return {}
    return dict(_load(folder, WINOGRAD, dict[str, Tile]))


def save_clips(folder: Path, caps: dict[str, float]) -> None:
    """Keeps what ``plain.calibrate`` found beside a checkpoint."""
    (folder / CLIPS).write_bytes(msgspec.json.format(msgspec.json.encode(caps), indent=1))


def save_tiles(folder: Path, tiles: dict[str, int]) -> None:
    """Keeps what ``plan.convolution.choose`` chose beside a checkpoint."""
    content = msgspec.json.format(msgspec.json.encode(tiles), indent=1)
    (folder / WINOGRAD).write_bytes(content)


def publish(server: ServerSide, out_dir: Path) -> None:
    """Writes the folder that a client needs: config, digest, scales, preprocessing.

    Nothing happens if it is there already.

    Raises:
        InputError: ``out_dir`` holds anything else, or cannot be written.
    """
    if (out_dir / SCALES).is_file():
        with contextlib.suppress(ModelError):
            if ClientSide(out_dir).published == server.published:
                return
    found = checkpoint.read_bytes(server.folder, checkpoint.CONFIG, checkpoint.MAX_CONFIG_BYTES)
    content = msgspec.json.format(msgspec.json.encode(server.published), indent=1)
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        if any(out_dir.iterdir()):
            raise InputError(f"{out_dir} is not empty; give another folder")
        (out_dir / checkpoint.CONFIG).write_bytes(found)
        (out_dir / SCALES).write_bytes(content)
    except OSError as error:
        raise InputError(f"cannot write {out_dir}: {error.strerror}") from None


def _load(folder: Path, name: str, kind: Any) -> Any:
    content = checkpoint.read_bytes(folder, name, _MOST_BYTES)
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{name} in {folder} is malformed: {error}") from None
