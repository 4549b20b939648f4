"""What is known of a model: seconds, sizes and memory of each layer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from veilform.errors import InputError
from veilform.plan.reading import read_json

VERSION = 1
KINDS = ("embedding", "transformer", "head", "other")

Floats = NDArray[np.float64]


class Layer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One layer's sizes. Counts are of elements, for one sample where they depend on the batch.

    Attributes:
        kind: embedding, transformer, head or other.
        parameters: its own, of the whole layer.
        shared: parameters of the matrix that embedding and head have in common; a stage that
            holds both has it once.
        output: elements that go on to the next layer.
        output_split: tensor parallel leaves the output in parts.
        reduced: elements that the tensor-parallel forward pass sums over devices.
        kept_bytes: activations kept for the backward pass on each device of a layer.
        kept_split_bytes: those besides that tensor parallel divides.
        idle: the published cost model leaves this layer out.
    """

    kind: str
    parameters: float = 0
    shared: float = 0
    output: float = 0
    output_split: bool = False
    reduced: float = 0
    kept_bytes: float = 0
    kept_split_bytes: float = 0
    idle: bool = False


class Timing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Seconds of each layer's forward pass on one kind of device, tensor parallel by ``tp``.

    ``emulated``: one device ran a part of each layer, so what devices exchange is not in it.
    """

    device: str
    tp: int
    micro_batch: int
    seconds: tuple[float, ...]
    emulated: bool = False


class _File(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    layers: tuple[Layer, ...]
    timings: tuple[Timing, ...]
    version: int = VERSION


@dataclass(frozen=True)
class LayerProfile:
    """A model's layers and their timings.

    Raises:
        InputError: no layer or no timing, or a timing of another number of layers.
    """

    name: str
    layers: tuple[Layer, ...]
    timings: tuple[Timing, ...]

    def __post_init__(self) -> None:
        if not self.layers or not self.timings:
            raise InputError(f"the profile {self.name} has no layers or no timings")
        for each in self.layers:
            if each.kind not in KINDS:
                raise InputError(f"a layer is one of {', '.join(KINDS)}, not {each.kind}")
        for timing in self.timings:
            seconds = np.array(timing.seconds)
            if len(seconds) != len(self.layers):
                raise InputError(
                    f"the profile {self.name} has {len(self.layers)} layers, but timings of "
                    f"{len(seconds)} on {timing.device}"
                )
            if not (np.isfinite(seconds) & (seconds >= 0)).all() or timing.tp < 1:
                raise InputError(f"the profile {self.name} has a timing that is no duration")

    @property
    def devices(self) -> tuple[str, ...]:
        """Kinds of device that were timed."""
        return tuple(sorted({timing.device for timing in self.timings}))

    @property
    def degrees(self) -> tuple[int, ...]:
        """Degrees of tensor parallelism that were timed on every kind of device."""
        timed = {(timing.device, timing.tp) for timing in self.timings}
        degrees = {tp for _, tp in timed}
        return tuple(sorted(t for t in degrees if all((d, t) in timed for d in self.devices)))

    def seconds(self, device: str, tp: int) -> dict[int, Floats]:
        """Forward seconds of each layer, by micro-batch.

        Raises:
            InputError: nothing was timed with them.
        """
        if (device, tp) not in self._seconds:
            raise InputError(
                f"the profile {self.name} has no timing of tensor parallel {tp} on {device}; it "
                f"has {', '.join(self.devices)} with tensor parallel "
                f"{', '.join(map(str, self.degrees))}"
            )
        return self._seconds[device, tp]

    def timed(self, device: str, tp: int) -> bool:
        """Whether there is a timing with them."""
        return (device, tp) in self._seconds

    @cached_property
    def _seconds(self) -> dict[tuple[str, int], dict[int, Floats]]:
        found: dict[tuple[str, int], dict[int, Floats]] = {}
        for timing in sorted(self.timings, key=lambda each: each.micro_batch):
            times = found.setdefault((timing.device, timing.tp), {})
            times[timing.micro_batch] = np.array(timing.seconds)
        return found

    def emulated(self, device: str, tp: int) -> bool:
        """Whether these timings lack what devices exchange."""
        return any(t.emulated for t in self.timings if (t.device, t.tp) == (device, tp))

    def column(self, name: str) -> Floats:
        """One attribute of all layers."""
        return self._columns[name]

    @cached_property
    def _columns(self) -> dict[str, Floats]:
        names = [name for name in Layer.__struct_fields__ if name != "kind"]
        return {
            name: np.array([getattr(layer, name) for layer in self.layers], float) for name in names
        }

    def only(self, *devices: str) -> LayerProfile:
        """The same without the timings of other devices."""
        return replace(self, timings=tuple(t for t in self.timings if t.device in devices))

    def save(self, path: Path) -> None:
        """Writes its JSON file."""
        content = msgspec.json.encode(_File(self.name, self.layers, self.timings))
        path.write_bytes(msgspec.json.format(content, indent=1) + b"\n")

    @classmethod
    def load(cls, path: Path) -> LayerProfile:
        """Reads a file that :meth:`save` wrote.

        Raises:
            InputError: it cannot be read, or is of another form or version.
        """
        found = read_json(path, _File, "no profile of layers")
        if found.version != VERSION:
            raise InputError(f"{path} is of version {found.version}; this reads {VERSION}")
        return cls(found.name, found.layers, found.timings)


def transformer(
    width: float, sequence: float, inner: float, heads: int, idle: bool = False
) -> Layer:
    """A Transformer layer's sizes.

    Activations in 16-bit floats as counted by Korthikanti et al. 2022 (arXiv 2205.05198, equation
    2): s h (10 + 24 / t + 5 a s / (h t)) bytes with an inner width of 4 h.
    """
    tokens = sequence * width
    return Layer(
        "transformer",
        parameters=4 * width**2 + 2 * width * inner,
        output=tokens,
        reduced=2 * tokens,
        kept_bytes=10 * tokens,
        kept_split_bytes=8 * tokens + 4 * sequence * inner + 5 * heads * sequence**2,
        idle=idle,
    )


def scores(matrix: float, count: float) -> Layer:
    """A head's sizes that scores words with the embedding's matrix; ``count`` scores a sample.

    The loss keeps scores in 16 and 32 bits, their softmax in 32 and their gradient in 16.
    """
    return Layer(
        "head", shared=matrix, output=count, output_split=True, kept_split_bytes=12 * count
    )
