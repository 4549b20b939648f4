"""What a folder's config.json says of an image model: its network and its labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from veilform.errors import ModelError
from veilform.models import checkpoint
from veilform.models.answers import IMAGES
from veilform.models.vision import config
from veilform.models.vision.network import Network

CLASSIFIERS = frozenset({"resnet", "mobilenet_v2"})


class _Labels(msgspec.Struct, frozen=True):
    id2label: dict[str, str] = {}


@dataclass(frozen=True)
class ImageConfig:
    """An image model.

    Attributes:
        architecture: the name of its family.
        labels: of its classes, in order; Hugging Face's ``id2label``, or LABEL_0 and so on.
        largest: of inputs that are no pictures, the largest entry in absolute value.
    """

    architecture: str
    network: Network
    labels: tuple[str, ...]
    largest: float | None = None

    problem_type: str | None = None

    @property
    def task(self) -> str:
        """What it is for; a family that does not classify is for itself."""
        return IMAGES.name if self.architecture in CLASSIFIERS else self.architecture

    @property
    def outputs(self) -> int:
        """How many classes."""
        return self.network.classes

    @classmethod
    def read(cls, folder: Path) -> ImageConfig:
        """That of a folder; ModelError if its config.json is missing or malformed."""
        family = config.read(folder)
        network = family.network()
        raw = checkpoint.read_config(folder)
        try:
            named = msgspec.convert(raw, _Labels).id2label
        except msgspec.ValidationError as error:
            raise ModelError(f"id2label in config.json is malformed: {error}") from None
        numbers = [str(i) for i in range(network.classes)]
        if named and named.keys() != set(numbers):
            raise ModelError(
                f"id2label in config.json must name the classes 0 to {network.classes - 1}"
            )
        labels = tuple(named.get(number, f"LABEL_{number}") for number in numbers)
        return cls(str(raw["family"]), network, labels, family.largest)
