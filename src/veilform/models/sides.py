"""What serving, planning and asking know of a model, whatever its family.

A run is known by its shape alone: how many inputs, and the length that they are padded to, which
for what has no length, such as an image, is 1. ``families`` tells which classes fill this in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import Protocol as Interface

import numpy as np
import numpy.typing as npt

from veilform import prg
from veilform.correlation.manifest import Manifest
from veilform.drive.trace import Trace
from veilform.models.answers import Answering
from veilform.protocol.effects import Protocol
from veilform.protocol.party import Party
from veilform.ring import Words
from veilform.values import Array


@dataclass(frozen=True)
class Shape:
    """Of one run: how many inputs, padded to which length: of texts, how many tokens."""

    batch: int
    length: int


class Batch(Interface):
    """Inputs of one run."""

    @property
    def shape(self) -> Shape:
        """Of the run that answers them."""


class Encoder(Interface):
    """Turns what a user has, such as texts or pictures, into what a model takes."""

    def encode(self, inputs: Sequence[Any]) -> list[Any]:
        """Each input by itself.

        Raises:
            InputError: one cannot be used. Says which, never what is in it.
        """

    def pad(self, inputs: Sequence[Any]) -> Batch:
        """Encoded inputs as one batch, padded to the length of the longest."""

    def packed(self, encoded: Any) -> tuple[Any, ...]:
        """One encoded input as plain data, for another process."""

    def unpacked(self, plain: tuple[Any, ...]) -> Any:
        """What `packed` made plain."""


class Answer(Interface):
    """The client's: logits (B, L) in fixed point; ``flag`` has a one where a value left its range.

    Without a flag at all, ``flag`` is zero.
    """

    @property
    def logits(self) -> Array: ...

    @property
    def flag(self) -> Array: ...


Secure = Callable[[Party], Protocol[Any]]


class Program(Interface):
    """A secure program for one shape."""

    def abstract(self, me: Party) -> Protocol[Any]:
        """The program on shapes, for a trace."""

    def client(self, inputs: Any) -> Secure:
        """The client's, whose result is an `Answer`."""

    def server(self, weights: Any) -> Secure:
        """The server's."""


class Side(Interface):
    """What both sides of a model derive alike.

    Attributes:
        model: the digest of the model.
    """

    model: str

    @property
    def config(self) -> Answering:
        """What its outputs mean."""

    @property
    def published(self) -> object:
        """All that a client is told besides the config: equal for models that are served alike."""

    @property
    def lengths(self) -> tuple[int, ...]:
        """The padded lengths that it takes, ascending."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one input that is an array, such as an image (H, W, C); () of a text."""

    @property
    def takes(self) -> str:
        """What one input may be, in words."""

    @property
    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the weights, by name."""

    def run_shape(self, batch: int, tokens: int | None = None) -> Shape:
        """Of a run of so many inputs, texts with so many tokens each.

        Raises:
            InputError: there is no such run.
        """

    def program(self, shape: Shape) -> Program:
        """The secure program for one shape; InputError for a length that the model has not."""

    def trace(self, shape: Shape) -> Trace:
        """What a run of this shape takes and sends."""

    def manifest(self, shape: Shape, weights: str) -> Manifest:
        """What binds a stock to this model, these masked weights and this shape."""


class ServerSide(Side, Interface):
    """A checkpoint folder, ready to serve.

    Attributes:
        folder: where it was read.
        content: digest of the weights as ring elements, which `masked` masks.
        calibrated: the longest length that calibration reached. Longer ones are traced, not served.
    """

    folder: Path
    content: str
    calibrated: int

    def server_weights(self, length: int) -> Any:
        """What ``program(...).server`` takes."""

    def masked(self, seed: bytes) -> Iterator[Words]:
        """What the dealer gets: s = P - W of each weight, in order of `weight_shapes`."""


class ClientSide(Side, Interface):
    """The public part of a model."""

    @property
    def encoder(self) -> Encoder:
        """Reads inputs as this model wants them."""

    def inputs(self, batch: Any) -> Any:
        """A batch as ``program(...).client`` takes it; InputError if it cannot be used."""


class Clear(Interface):
    """A model in the clear: the oracle of the private one."""

    @property
    def config(self) -> Answering:
        """What its outputs mean."""

    @property
    def encoder(self) -> Encoder:
        """Reads inputs as this model wants them."""

    def forward(self, batch: Any) -> npt.NDArray[np.floating[Any]]:
        """Outputs (B, L)."""


def fresh_weights() -> tuple[str, bytes]:
    """An id for masked weights, and the seed of their common part P."""
    return prg.fresh_seed().hex(), prg.fresh_seed()
