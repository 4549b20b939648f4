"""Where a folder keeps a model's tensors: by its family's names, shifted positions, none at all."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from veilform.models.bert import names
from veilform.models.bert.config import BertConfig
from veilform.models.checkpoint import WEIGHTS, Checkpoint, Float32

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Layout:
    """From BERT's names to those in a folder.

    Attributes:
        prefix: of the encoder's tensors.
    """

    config: BertConfig
    prefix: str

    @classmethod
    def of(cls, config: BertConfig, stored: Collection[str]) -> Layout:
        """The layout of a folder with the tensors ``stored``."""
        prefix = config.family.prefix
        # An encoder saved on its own, without a head, has no prefix.
        return cls(config, prefix if any(name.startswith(prefix) for name in stored) else "")

    def is_stored(self, name: str) -> bool:
        """Whether the family has such a tensor."""
        return name != names.TYPES or self.config.family.typed

    def stored(self, name: str) -> str:
        """What the folder calls the tensor ``name``."""
        for ours, theirs in self.config.family.tensors.items():
            name = name.replace(ours, theirs)
        return self.prefix + name.removeprefix("bert.") if name.startswith("bert.") else name

    def shapes(self, wanted: Shapes) -> dict[str, tuple[int, ...]]:
        """Name and shape in the folder of each tensor of ``wanted`` that it has."""
        before = self.config.first_position
        return {
            self.stored(name): (shape[0] + before, *shape[1:]) if name == names.POSITIONS else shape
            for name, shape in wanted.items()
            if self.is_stored(name)
        }

    def is_ignorable(self, stored: str) -> bool:
        """Whether a tensor beyond the expected ones changes nothing.

        Old checkpoints store the position ids 0, 1, 2, ...; the encoder's own pooler is used by
        none but BERT's classifier.
        """
        name = stored.removeprefix(self.prefix)
        return name == "embeddings.position_ids" or name.startswith("pooler.dense.")


class StoredTensors(Mapping[str, Float32]):
    """A model's tensors by BERT's names, in float32; each is read anew when asked for."""

    def __init__(self, checkpoint: Checkpoint, config: BertConfig, wanted: Shapes) -> None:
        """Tensors of ``wanted`` (name and shape) that ``checkpoint`` keeps.

        Raises:
            ModelError: some are missing or misshapen; all are listed, by their names there.
        """
        self._checkpoint = checkpoint
        self._layout = Layout.of(config, checkpoint.shapes)
        self._wanted = dict(wanted)
        checkpoint.require(self._layout.shapes(wanted))

    @classmethod
    def open(
        cls, folder: Path, config: BertConfig, wanted: Shapes, weights: str = WEIGHTS
    ) -> StoredTensors:
        """Those in ``folder``; ModelError also if it is no sound checkpoint."""
        return cls(Checkpoint.open(folder, weights), config, wanted)

    def __getitem__(self, name: str) -> Float32:
        if not self._layout.is_stored(name):
            return np.zeros(self._wanted[name], np.float32)
        stored = self._layout.stored(name)
        tensor = self._checkpoint.load([stored])[stored]
        return tensor[self._layout.config.first_position :] if name == names.POSITIONS else tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._wanted)

    def __len__(self) -> int:
        return len(self._wanted)

    def rewrite(self, path: Path, others: Mapping[str, Float32]) -> None:
        """Copies the checkpoint's tensors to a new file, but ``others``, by BERT's names."""
        theirs = {self._layout.stored(name): tensor for name, tensor in others.items()}
        self._checkpoint.rewrite(theirs, path)

    def export(self, path: Path) -> None:
        """Copies all of them as they are stored to a new safetensors file."""
        self._checkpoint.export(self._layout.shapes(self._wanted), path)
