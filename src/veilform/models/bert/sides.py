"""A model as each side holds it: the server's with its weights, the client's without."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from veilform import fixed, memory
from veilform.approx import registry
from veilform.correlation.manifest import Manifest
from veilform.correlation.weights import dealer_part
from veilform.drive.trace import Trace, trace
from veilform.errors import InputError, ModelError
from veilform.models import checkpoint
from veilform.models.bert import validate
from veilform.models.bert.calibration import CALIBRATION, Calibration
from veilform.models.bert.compile import ring_arrays, server_weights
from veilform.models.bert.config import BertConfig
from veilform.models.bert.names import expected_shapes
from veilform.models.bert.public import PublicPart, export_public
from veilform.models.bert.scaling import plan_lengths
from veilform.models.bert.secure import (
    Inputs,
    SecureBert,
    ServerWeights,
    row_width,
    weight_shapes,
)
from veilform.models.bert.stored import StoredTensors
from veilform.models.sides import Shape
from veilform.models.text import BUCKETS, TextEncoder, TokenBatch, bucket
from veilform.nn.attention import scored
from veilform.nn.feedforward import elementwise
from veilform.nn.scales import Scales
from veilform.protocol.tables import Table
from veilform.ring import Words

SCALES = "scales.json"
_MOST_SCALES_BYTES = 4 << 20

RingArray = tuple[str, bool, Words]


class ScaleTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model's scales for every padded length, and whether its words are looked up privately."""

    private_embedding: bool
    lengths: tuple[Scales, ...]

    @classmethod
    def from_json(cls, content: bytes) -> ScaleTable:
        """Raises ModelError if it is malformed."""
        try:
            return msgspec.json.decode(content, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ModelError(f"{SCALES} is malformed: {error}; export the folder again") from None

    def at(self, length: int) -> Scales:
        """The scales for texts padded to ``length``.

        Raises:
            InputError: for a length that the model does not have.
        """
        for scales in self.lengths:
            if scales.length == length:
                return scales
        known = ", ".join(str(s.length) for s in self.lengths)
        raise InputError(f"the model has no padded length {length}; it has {known}")


class Side:
    """What both sides derive alike: programs, traces, manifests."""

    def __init__(self, config: BertConfig, digest: str, scales: ScaleTable) -> None:
        self.config = config
        self.model = digest
        self.scales = scales

    @property
    def published(self) -> ScaleTable:
        """What a client is told besides config and embeddings."""
        return self.scales

    @property
    def lengths(self) -> tuple[int, ...]:
        """The padded lengths that it takes."""
        return tuple(scales.length for scales in self.scales.lengths)

    input_shape = ()
    """A text is no array."""

    @property
    def takes(self) -> str:
        """What one input may be, in words."""
        return f"texts of up to {self.lengths[-1]} tokens"

    def run_shape(self, batch: int, tokens: int | None = None) -> Shape:
        """Of a run of so many texts with so many tokens each.

        Raises:
            InputError: the number of tokens is missing, or is more than the model takes.
        """
        if tokens is None:
            raise InputError("say how many tokens a text has: --seq 64, for example")
        return Shape(batch, bucket(tokens, self.lengths))

    def program(self, shape: Shape) -> SecureBert:
        """The secure program for one input shape."""
        scales = self.scales.at(shape.length)
        return SecureBert(self.config, scales, shape.batch, self.scales.private_embedding)

    @functools.lru_cache(maxsize=32)  # noqa: B019 - a side lives as long as its process
    def trace(self, shape: Shape) -> Trace:
        """What a run of this shape takes and sends."""
        return trace(self.program(shape).abstract)

    @functools.lru_cache(maxsize=32)  # noqa: B019
    def manifest(self, shape: Shape, weights: str) -> Manifest:
        """What binds a stock to this model, these masked weights and this shape."""
        return self.trace(shape).manifest(
            self.run_digest(shape.length), shape.batch, shape.length, weights
        )

    @functools.lru_cache(maxsize=32)  # noqa: B019
    def run_digest(self, length: int) -> str:
        """Of the model, its scales and their tables: sides that differ in a bit must not run."""
        scales = self.scales.at(length)
        hasher = hashlib.sha256(self.model.encode() + msgspec.json.encode(scales))
        for table in _tables(scales):
            hasher.update(table.segments.rows.tobytes() + repr(table.segments[:4]).encode())
        for constants in self._constants(scales):
            hasher.update(constants.tobytes())
        return hasher.hexdigest()

    def _constants(self, scales: Scales) -> Iterator[Words]:
        for i, layer in enumerate(scales.layers):
            activation = registry.activation(self.config.activation(i))
            attention = registry.attention(self.config.attention(i))
            yield from activation.constants(elementwise(layer.feedforward))
            yield from attention.constants(scored(layer.attention))
        if scales.pooler is not None:
            activation = registry.activation(self.config.head_act)
            yield from activation.constants(elementwise(scales.pooler))


def _tables(scales: Scales) -> Iterator[Table]:
    for layer in scales.layers:
        division = layer.attention.division
        if division is not None:
            yield division.table(layer.attention.weighted)
        yield from (layer.attention_norm.table, layer.feedforward_norm.table)
    if scales.embedding is not None:
        yield scales.embedding.table


class ServerSide(Side):
    """A full checkpoint, ready to serve.

    Attributes:
        content: digest of the weights as ring elements, which `masked` masks.
    """

    def __init__(
        self, folder: Path, private_embedding: bool = False, *, only_calibrated: bool = True
    ) -> None:
        """Reads, checks and scales a checkpoint folder.

        Args:
            private_embedding: words are looked up under secure computation too.
            only_calibrated: leave out lengths that no text of the calibration reached. They can be
                traced, but their texts would leave the measured ranges.

        Raises:
            ModelError: when it cannot be served; every reason is listed.
        """
        config = validate.check(folder)
        if not (folder / CALIBRATION).is_file():
            raise ModelError(
                f"{folder} has no {CALIBRATION}: run `veilform calibrate` on it with typical texts"
            )
        digest = checkpoint.model_digest(folder)
        calibration = Calibration.load(folder)
        if calibration.model != digest:
            raise ModelError(
                f"{CALIBRATION} in {folder} was measured on another model; calibrate again"
            )
        tensors = dict(StoredTensors.open(folder, config, expected_shapes(config)))
        longest = config.max_position_embeddings
        self.calibrated = min(longest, max(calibration.buckets))
        if only_calibrated:
            longest = self.calibrated
        lengths = tuple(n for n in BUCKETS if n <= longest)
        planned = plan_lengths(config, tensors, calibration, lengths, private_embedding)
        super().__init__(config, digest, ScaleTable(private_embedding, planned))
        self.folder = folder
        # Weights and biases are the same at every length, but that a private embedding has as many
        # positions in its bias as there are: the longest has them all.
        arrays = ring_arrays(config, tensors, planned[-1], private_embedding)
        hasher = hashlib.sha256()
        self._packed = server_weights(_hashed(arrays, hasher), config.small(private_embedding))
        self.content = hasher.hexdigest()
        del tensors, arrays
        memory.trim()

    def server_weights(self, length: int) -> ServerWeights:
        """Packed weights, and the biases for one length."""
        biases = dict(self._packed.biases)
        if self.scales.private_embedding:
            biases["words"] = biases["words"][:length]
        return ServerWeights(self._packed.weights, biases)

    def masked(self, seed: bytes) -> Iterator[Words]:
        """What the dealer gets: s = P - W of each weight, in order of `weight_shapes`.

        Reads the checkpoint again, weight by weight: only the packed ones are kept in memory.

        Raises:
            ModelError: the folder holds another model by now.
        """
        if checkpoint.model_digest(self.folder) != self.model:
            raise ModelError(f"{self.folder} was changed since it was read; start again")
        tensors = StoredTensors.open(self.folder, self.config, expected_shapes(self.config))
        scales = self.scales.lengths[-1]
        for name, is_bias, words in ring_arrays(
            self.config, tensors, scales, self.scales.private_embedding
        ):
            if not is_bias:
                yield dealer_part(seed, name, words)
        memory.trim()

    @property
    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the weights, by name."""
        return {name: w.shape for name, w in self._packed.weights.items()}


class ClientSide(Side):
    """The public part of a model, and its scales."""

    def __init__(self, folder: Path) -> None:
        """Reads a folder that :func:`publish` made.

        Raises:
            ModelError: when it is none.
        """
        public = PublicPart.load(folder)
        content = checkpoint.read_bytes(folder, SCALES, _MOST_SCALES_BYTES)
        scales = ScaleTable.from_json(content)
        known = [s.length for s in scales.lengths]
        fit = all(len(s.layers) == public.config.num_hidden_layers for s in scales.lengths)
        if not known or not fit or known != list(public.encoder.lengths())[: len(known)]:
            raise ModelError(f"{SCALES} in {folder} is of another model; export the folder again")
        super().__init__(public.config, public.digest, scales)
        self.public = replace(public, encoder=public.encoder.up_to(known[-1]))

    @property
    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the weights, by name."""
        return weight_shapes(self.config, self.scales.private_embedding)

    @property
    def encoder(self) -> TextEncoder:
        """Turns texts into what the model takes."""
        return self.public.encoder

    def inputs(self, batch: TokenBatch) -> Inputs:
        """Padded texts as the secure program takes them."""
        length = batch.ids.shape[1]
        scales = self.scales.at(length)
        bits = scales.layers[0].attention.mask_bits
        tokens = batch.mask.sum(axis=1, keepdims=True)

        def column(scale: int) -> Words:
            shared = np.rint(2.0**scale / tokens) * batch.mask
            return shared.astype(np.uint64)[..., None]

        if self.scales.private_embedding:
            rows = one_hot(self.config, batch)
        else:
            rows = fixed.encode(self.public.embed(batch.ids, batch.types), scales.layers[0].hidden)
        padding = (batch.mask == 0).astype(np.uint64)[..., None]
        return Inputs(rows, column(bits), padding, column(scales.head.pool))


def one_hot(config: BertConfig, batch: TokenBatch) -> Words:
    """(B, S, V + T): ``Inputs.rows`` of a private embedding."""
    rows = np.zeros((*batch.ids.shape, row_width(config, True)), np.uint64)
    ones = np.stack([batch.ids, config.vocab_size + batch.types], axis=-1)
    np.put_along_axis(rows, ones, np.uint64(1), axis=2)
    return rows


def _hashed(arrays: Iterable[RingArray], hasher: hashlib._Hash) -> Iterator[RingArray]:
    """The same arrays; the weights among them have gone into the hash."""
    for name, is_bias, words in arrays:
        if not is_bias:
            hasher.update(f"{name} {words.shape} ".encode())
            hasher.update(np.ascontiguousarray(words).data)
        yield name, is_bias, words


def publish(server: ServerSide, out_dir: Path) -> None:
    """Writes the folder that a client needs: config, tokenizer, scales, digest, public embeddings.

    Nothing happens if it is there already.

    Raises:
        InputError: ``out_dir`` holds anything else, or cannot be written.
    """
    if (out_dir / SCALES).is_file():
        with contextlib.suppress(ModelError):
            known = ClientSide(out_dir)
            if (known.model, known.scales) == (server.model, server.scales):
                return
    export_public(server.folder, out_dir, embeddings=not server.scales.private_embedding)
    (out_dir / SCALES).write_bytes(
        msgspec.json.format(msgspec.json.encode(server.scales), indent=1)
    )
