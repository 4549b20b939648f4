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


class _Labels(msgspec.Struct, frozen=True):
    id2label: dict[str, str] = {}


@dataclass(frozen=True)
class ImageConfig:
    """An image model.

    Attributes:
        architecture: the name of its family.
        labels: of its classes, in order; Hugging Face's ``id2label``, or LABEL_0 and so on.
        largest: of inputs that are no pictures, the largest entry in absolute value.
        task: what it is for; a family that does not classify is for itself.
    """

    architecture: str
    network: Network
    labels: tuple[str, ...]
    largest: float | None = None

    task: str = IMAGES.name
    problem_type: str | None = None

    @property
    def outputs(self) -> int:
        """How many classes."""
        return self.network.classes

    @classmethod
    def read(cls, folder: Path) -> ImageConfig:
        """That of a folder; ModelError if its config.json is missing or malformed."""
        document = checkpoint.read_config(folder)
        family = config.parse(document)
        network, name = family.network(), str(document["family"])
        labels = labels_of(document, network.classes)
        if labels is None:
            labels = tuple(f"LABEL_{number}" for number in range(network.classes))
        task = IMAGES.name if isinstance(family, config.Classifier) else name
        return cls(name, network, labels, family.largest, task)


def labels_of(document: dict[str, object], classes: int) -> tuple[str, ...] | None:
    """Those that a config.json names, in order; None if it names none.

    Raises:
        ModelError: they are malformed, or not of so many classes.
    """
    try:
        named = msgspec.convert(document, _Labels).id2label
    except msgspec.ValidationError as error:
        raise ModelError(f"id2label in config.json is malformed: {error}") from None
    numbers = [str(i) for i in range(classes)]
    if named and named.keys() != set(numbers):
        raise ModelError(f"id2label in config.json must name the classes 0 to {classes - 1}")
    return tuple(named[number] for number in numbers) if named else None
